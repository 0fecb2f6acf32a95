"""Read and write the files of the dataset: CDF poses, MATLAB segments, HDF5."""
