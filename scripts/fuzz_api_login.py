"""Hooks of `scripts/fuzz-api`: log in as one of the service's people, and again whenever the session has ended."""

import os

import requests
import schemathesis


def log_in():
    """An access token. Whatever a login asks for, it is asked for here only."""
    person = {"email": os.environ["FUZZ_EMAIL"], "password": os.environ["FUZZ_PASSWORD"]}
    answer = requests.post(os.environ["FUZZ_URL"] + "/api/v1/access/login", json=person, timeout=30)
    if answer.status_code != 200:
        raise RuntimeError(f"{person['email']} cannot log in: {answer.status_code} {answer.text}")
    return answer.json()["access_token"]


# Tokens last ten minutes. The fuzzer logs out too: a 401 makes it log in again.
@schemathesis.auth(refresh_interval=240)
class Bearer:
    def get(self, case, context):
        return log_in()

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"
