"""hcal_root_ad: finds faulty HCAL channels in DQM files and publishes the verdict for the DQM GUI."""
