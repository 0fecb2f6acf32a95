# Everything the five scripts need. Nothing is compiled, and what pip installs is pinned with its hashes (`make lock`).
FROM python:3.13-slim-trixie

RUN apt-get update \
    && apt-get install --yes --no-install-recommends axel ca-certificates \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /h36m-fetch
COPY requirements.lock ./
# spacepy wants scipy for its models of space, but not to read CDF files: without it the image is a quarter smaller.
RUN python3 -m pip install --no-cache-dir --no-compile --disable-pip-version-check --root-user-action ignore \
    --require-hashes --only-binary :all: -r requirements.lock \
    && python3 -m pip uninstall --yes --root-user-action ignore scipy

COPY metadata.xml checksums.txt LICENSE *.py ./
COPY h36m h36m
COPY demo demo
# However strict the permissions were where the image was built, any user may read these.
RUN chmod -R a+rX .

# Not root; `--user` may give any other, with or without a home. Such a user cannot write bytecode here.
ENV PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
CMD ["python3", "process_all.py", "--help"]
