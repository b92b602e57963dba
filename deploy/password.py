"""Gives MLflow's administrator the password of DREAMTRACE_PASSWORD, where MLflow has made the user with another one."""

import os
import sys
from configparser import ConfigParser

from pipeline.errors import UserError
from pipeline.servers.authentication import password_given, renew_password


def main(config: str) -> None:
    """The database is the one that MLflow's file of settings names; before MLflow's first start it holds no user.

    Raises:
        AccessError: the password is missing, too short, or holds a colon.
    """
    settings = ConfigParser(interpolation=None)
    with open(config, encoding="utf-8") as file:
        settings.read_file(file)
    if renew_password(settings["mlflow"]["database_uri"], password_given()):
        print("the password was changed; MLflow takes the new one from now on")


if __name__ == "__main__":
    try:
        main(os.environ["MLFLOW_AUTH_CONFIG_PATH"])
    except UserError as error:
        sys.exit(f"error: {error}")
