"""What training needs of the machine: devices, files, arrays on disk, fingerprints. It knows nothing of biomarkers."""
