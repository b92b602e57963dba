"""Real servers that tests start on the loopback interface and throw away: S3 and PostgreSQL."""
