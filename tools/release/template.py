"""The template of a release: the compiled package instead of the sources, comments kept.

Every replacement must match the expected number of times. So a changed template cannot come out
half converted.
"""

from __future__ import annotations

import re

FUNCTION = "    Type: AWS::Serverless::Function\n"
BUILT = """\
    Metadata:
      BuildMethod: rust-cargolambda
      BuildProperties:
        Binary: bootstrap
    Properties:
"""
# `sam deploy` reads `CodeUri` only at each function. Otherwise it takes the whole directory.
SOURCES = re.compile(r"(?:    #.*\n)*    CodeUri: \.\./\n")
ARCHITECTURE = re.compile(
    r"(  Architecture:\n(?:    .*\n)*?)    Default: .*\n((?:    .*\n)*?)    AllowedValues: .*\n"
)
DEFINITION = re.compile(r"DefinitionUri: \.\./statemachine/(\w+\.asl\.json)\n")


class TemplateError(Exception):
    """The template is not what its packaging expects; the message says what differs."""


def packaged(template: str, architecture: str, package: str, definitions: int = 2) -> str:
    """The text of the template that deploys `package`; package and definitions lie beside it.

    Raises TemplateError when a replacement does not match the expected number of times, or when
    the text still names something outside of its directory.
    """

    def replace(pattern: re.Pattern[str], by: str, text: str, times: int = 1) -> str:
        done, found = pattern.subn(by, text)
        if found != times:
            raise TemplateError(f"{pattern.pattern!r} is {found} times in it instead of {times}")
        return done

    functions = template.count(FUNCTION)
    code = f"    Properties:\n      CodeUri: {package}\n"
    text = replace(re.compile(re.escape(BUILT)), code, template, functions)
    text = replace(SOURCES, "", text)
    text = replace(DEFINITION, r"DefinitionUri: \1\n", text, definitions)
    only = rf"\1    Default: {architecture}\n\2    AllowedValues: [{architecture}]\n"
    text = replace(ARCHITECTURE, only, text)
    if "../" in text:
        raise TemplateError("it still names something outside of its directory")
    return text
