"""Which user data an instance boots with."""

from __future__ import annotations

import pytest

from local_cloud.builder_host.user_data import Settings, UserDataError


def test_an_empty_document_is_an_instance_without_admin_container():
    assert Settings.parse("") == Settings()


def test_the_settings_of_a_builder_are_read():
    settings = Settings.parse(
        "[settings.host-containers.admin]\nenabled = true\n"
        "[settings.kubernetes]\nstandalone-mode = true\n"
        "[settings.container-runtime]\nmax-concurrent-downloads = 10\n"
    )
    assert settings == Settings(True, {"max-concurrent-downloads": 10})


@pytest.mark.parametrize(
    ("user_data", "wrong"),
    [
        ("[settings", "no settings TOML"),
        ("[setings]", "setings, which Bottlerocket does not know"),
        (
            "[settings.container-runtime]\nmax-downloads = 3",
            "settings.container-runtime.max-downloads, which Bottlerocket does not know",
        ),
        (
            '[settings.container-runtime]\nmax-concurrent-downloads = "10"',
            "max-concurrent-downloads to '10': not int",
        ),
        ("[settings.host-containers.admin]\nenabled = 1", "admin.enabled to 1: not bool"),
        ("[settings]\ncontainer-runtime = 1", "gives settings.container-runtime a value"),
    ],
)
def test_user_data_that_stops_a_boot_is_named(user_data, wrong):
    with pytest.raises(UserDataError) as error:
        Settings.parse(user_data)
    assert wrong in str(error.value)
