"""Everything that runs beside the runs: servers, workers, deployments."""
