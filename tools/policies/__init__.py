"""Checks policy statements against AWS's Service Authorization Reference: `make policies`.

`statements.py` reads the statements of a template, `iam_data.py` the reference from its npm
package. `rules.py` has a rule for each kind of mistake, and `check.py` is the command.
`reference.py` has the terms of the reference: actions, resource types and condition keys.
"""
