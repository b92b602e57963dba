"""S3: where a champion is published, and where it is fetched from."""
