"""MLflow: runs, registered versions, and the model as it is served."""
