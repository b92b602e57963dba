-- Prefect's database is the one that the image makes; it wants trigrams. MLflow has one of its own.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE DATABASE mlflow;
