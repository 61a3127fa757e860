"""Our own rules for a definition; each returns its complaints.

The linters miss all of these, such as an unknown variable or function, `$states.result` where it
does not exist, and an endless loop.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

Definition = dict[str, Any]
State = dict[str, Any]

CALL_LAMBDA = "arn:${Partition}:states:::lambda:invoke"
RUN_EXECUTION = "arn:${Partition}:states:::states:startExecution.sync:2"
CALL_LIMIT_SECONDS = 60
RETRY_LIMIT = 10
# Error names from the service, as opposed to those from our functions (Step Functions
# developer guide, "Error names" and "Handle transient Lambda service exceptions").
SERVICE_ERRORS = {
    *("States.ALL", "States.DataLimitExceeded", "States.ExceedToleratedFailureThreshold"),
    *("States.HeartbeatTimeout", "States.Http.Socket", "States.ItemReaderFailed"),
    *("States.NoChoiceMatched", "States.Permissions", "States.QueryEvaluationError"),
    *("States.ResultWriterFailed", "States.Runtime", "States.TaskFailed", "States.Timeout"),
    *("Lambda.Unknown", "Runtime.ExitError", "Sandbox.Timedout"),
}
# Lambda's own transient errors. The last three come from a function in a VPC that was not called
# for weeks: Lambda recreates its network while the first calls fail (Lambda developer guide,
# "Function states" and "Invoke" errors).
LAMBDA_PASSES = {
    *("Lambda.AWSLambdaException", "Lambda.ClientExecutionTimeoutException"),
    *("Lambda.SdkClientException", "Lambda.ServiceException", "Lambda.TooManyRequestsException"),
    *("Lambda.ResourceNotReadyException", "Lambda.ENINotReadyException"),
    "Lambda.EC2ThrottledException",
}
SERVICE_ERRORS |= LAMBDA_PASSES
# The states whose ends delimit the phases on the way to a publication.
PHASES = {
    "ClaimBuild": "claim",
    "Preflight": "preflight",
    "LaunchBuilder": "launch",
    "PullImages": "pull",
    "EndBuilder": "end",
    "SnapshotVolume": "snapshot",
    "ReplicateSnapshots": "replicate",
}
NEED_THE_BUILDER = ("LaunchBuilder", "PullImages", "EndBuilder")
INTERRUPTION = ["BuilderInterrupted"]
# The variables after an interruption: nothing of the lost builder remains.
AFTER_INTERRUPTION = {
    "interruptions": "{% $interruptions + 1 %}",
    "instanceId": None,
    "refusals": 0,
    "refused": "{% '' %}",
    "commandId": None,
}
# The table in a definition's top comment.
TABLE_HEAD, EVERY_FUNCTION, THE_BUILDS = "step", "every function", "the build's"
FAILURE_FIELDS = ("step", "error", "cause")
# The functions of JSONata and of Step Functions that the definitions use.
KNOWN_FUNCTIONS = {
    *("append", "contains", "count", "exists", "floor", "join", "length", "map", "max", "merge"),
    *("millis", "not", "parse", "sift", "string", "substring", "toMillis"),
}
EXPRESSION = re.compile(r"\{%(.*)%\}", re.DOTALL)
TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|/\^.*?\$/")


def machines_of(definition: Definition) -> Iterator[Definition]:
    """The definition, then the state machine inside each of its Maps."""
    yield definition
    for state in definition["States"].values():
        if state["Type"] == "Map":
            yield from machines_of(state["ItemProcessor"])


def states_of(definition: Definition) -> Iterator[tuple[str, State]]:
    for machine in machines_of(definition):
        yield from machine["States"].items()


def tasks_of(definition: Definition) -> Iterator[tuple[str, State]]:
    return ((name, state) for name, state in states_of(definition) if state["Type"] == "Task")


def expressions_of(value: Any) -> Iterator[str]:
    """Every JSONata expression in `value`, at any depth."""
    if isinstance(value, dict):
        for part in value.values():
            yield from expressions_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from expressions_of(part)
    elif isinstance(value, str) and (found := EXPRESSION.fullmatch(value)):
        yield found[1]


def function_of(state: State) -> str | None:
    """The handler of the function that a Task calls, such as `clean_up`, if it calls one."""
    if state["Type"] != "Task" or state["Resource"] != CALL_LAMBDA:
        return None
    name = state["Arguments"]["FunctionName"].removeprefix("${").removesuffix("FunctionArn}")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def uses_jsonata_throughout(definition: Definition) -> list[str]:
    complaints = []
    if definition.get("QueryLanguage") != "JSONata":
        complaints.append("the top level does not say JSONata")
    for name, state in states_of(definition):
        if "QueryLanguage" in state:
            complaints.append(f"{name} has a query language of its own")
    return complaints


def uses_only_what_the_local_cloud_runs(definition: Definition) -> list[str]:
    complaints = []
    for name, state in states_of(definition):
        if state["Type"] == "Parallel":
            complaints.append(f"{name} is a Parallel")
        if state["Type"] == "Succeed" and "Output" in state:
            complaints.append(f"{name} is a Succeed with an Output")
        if state["Type"] == "Map":
            mode = state["ItemProcessor"].get("ProcessorConfig", {}).get("Mode")
            if mode != "INLINE":
                complaints.append(f"{name} is a Map of mode {mode}")
    return complaints


def has_time_limits(definition: Definition) -> list[str]:
    complaints = []
    if "TimeoutSeconds" not in definition:
        complaints.append("the state machine has no time limit")
    for name, task in tasks_of(definition):
        limit = task.get("TimeoutSeconds")
        if limit is None:
            complaints.append(f"{name} has no time limit")
        elif task["Resource"] == CALL_LAMBDA and limit > CALL_LIMIT_SECONDS:
            complaints.append(f"{name} allows {limit} s for one call")
    return complaints


def beats_within_its_time_limits(definition: Definition) -> list[str]:
    """The heartbeat limit is shorter than the Task's time limit, or it would never be missed."""
    return [
        f"{name} may go without a heartbeat for longer than it may take"
        for name, task in tasks_of(definition)
        if task.get("HeartbeatSeconds", 0) >= task.get("TimeoutSeconds", 1)
    ]


def calls_known_services(definition: Definition) -> list[str]:
    return [
        f"{name} calls {task['Resource']}"
        for name, task in tasks_of(definition)
        if task["Resource"] not in (CALL_LAMBDA, RUN_EXECUTION)
    ]


def retries_alike(definition: Definition) -> list[str]:
    """Every call of a function has the same Retry; the start of a child execution has none.

    A child execution has its own.
    """
    complaints = []
    calls = [(name, task) for name, task in tasks_of(definition) if task["Resource"] == CALL_LAMBDA]
    for name, task in tasks_of(definition):
        if task["Resource"] != CALL_LAMBDA and "Retry" in task:
            complaints.append(f"{name} starts an execution again")
    for name, task in calls:
        if task.get("Retry") != calls[0][1].get("Retry"):
            complaints.append(f"{name} retries otherwise than {calls[0][0]}")
        for retrier in task.get("Retry") or [{"ErrorEquals": [], "MaxAttempts": 0}]:
            if not 1 <= retrier.get("MaxAttempts", 0) <= RETRY_LIMIT:
                complaints.append(f"{name} retries without a limit, or never")
            if "States.ALL" in retrier["ErrorEquals"]:
                complaints.append(f"{name} retries every error")
    return complaints


def _catcher_of_everything(state: State) -> State:
    """The last catcher; those before it may catch errors by name."""
    return (state.get("Catch") or [{"ErrorEquals": [], "Next": "nowhere"}])[-1]


def _catcher_without_next(task: State) -> State:
    catcher = _catcher_of_everything(task)
    return {field: value for field, value in catcher.items() if field != "Next"}


WARNING = ("PruneSnapshots",)
"""States after a publication: their failure is a warning."""


def catches_alike(definition: Definition) -> list[str]:
    """Every Task catches everything, once, and all Tasks of a machine do so in the same way.

    Tasks whose failure is a warning are the exception. A Map that catches must do so like a Task.
    Inside a Map an outer variable cannot be assigned, so there the failure is the item's output.
    """
    complaints = []
    for machine in machines_of(definition):
        tasks = [
            (name, state)
            for name, state in machine["States"].items()
            if state["Type"] == "Task" or "Catch" in state
        ]
        for name, task in tasks:
            catcher = _catcher_without_next(task)
            if catcher["ErrorEquals"] != ["States.ALL"]:
                complaints.append(f"{name} does not catch everything")
            elif name in WARNING:
                if "failures" in catcher["Assign"] or "$warnings" not in str(catcher):
                    complaints.append(f"{name} fails what is published")
                continue
            elif catcher != _catcher_without_next(tasks[0][1]):
                complaints.append(f"{name} catches otherwise than {tasks[0][0]}")
            text = str(catcher)
            if not all(f"'{field}':" in text for field in FAILURE_FIELDS):
                complaints.append(f"{name} does not keep step, error and cause")
    return complaints


def keeps_the_failures_of_items(definition: Definition) -> list[str]:
    """A Map adds its items' failures to the outer list, and the next state checks the list."""
    complaints = []
    for machine in machines_of(definition):
        for name, state in machine["States"].items():
            if state["Type"] != "Map":
                continue
            kept = state.get("Assign", {}).get("failures", "")
            if "$states.result.failure" not in kept or "$failures" not in kept:
                complaints.append(f"{name} loses the failures of its items")
            after = machine["States"][state["Next"]]
            if not any("$failures" in one for one in expressions_of(after.get("Choices", []))):
                complaints.append(f"{name} goes on whatever its items did")
    return complaints


def cleans_up_after_every_failure(definition: Definition) -> list[str]:
    """For the build: a caught error leads to CleanUp, and an error of CleanUp to the end.

    A Task inside a Map passes its failure on in its output: see keeps_the_failures_of_items.
    """
    complaints = []
    for name, state in definition["States"].items():
        if state["Type"] not in ("Task", "Map"):
            continue
        after = _catcher_of_everything(state)["Next"]
        if after != ("BuildFailed" if name == "CleanUp" else "CleanUp"):
            complaints.append(f"{name} leads to {after} when it fails")
    return complaints


def replaces_an_interrupted_builder(definition: Definition) -> list[str]:
    """For the build: exactly the states that need the builder catch its interruption."""
    complaints = []
    for name, state in definition["States"].items():
        named = state.get("Catch", [])[:-1]
        wanted = [INTERRUPTION] if name in NEED_THE_BUILDER else []
        if [one["ErrorEquals"] for one in named] != wanted:
            complaints.append(f"{name} catches {[one['ErrorEquals'] for one in named]} by name")
        elif any(one["Next"] != "MayLaunchAgain" for one in named):
            complaints.append(f"{name} does not ask whether another builder may be launched")
        elif any(not AFTER_INTERRUPTION.items() <= one["Assign"].items() for one in named):
            complaints.append(f"{name} does not count the interruption, or knows the lost builder")
    return complaints


def tabulates_undo_and_errors(
    definition: Definition, errors_of: Callable[[str], set[str]]
) -> list[str]:
    """The top comment ends in a table: what undoes each step, and how the step can fail.

    `errors_of` gives the error names of a function. Names that every function has are in a row of
    their own.
    """
    table = definition.get("Comment", "").partition("\n\n")[2].splitlines()
    rows = {name.strip(): rest for name, *rest in (line.split(" | ") for line in table)}
    tasks = dict(tasks_of(definition))
    complaints = []
    if len({tuple(at for at, sign in enumerate(line) if sign == "|") for line in table}) != 1:
        complaints.append("the table has no straight columns")
    if sorted(rows) != sorted([TABLE_HEAD, *tasks, EVERY_FUNCTION]) or len(rows) != len(table):
        return [*complaints, f"the table has rows for {list(rows)}, tasks are {list(tasks)}"]
    shared = rows[EVERY_FUNCTION][1]
    for name, task in tasks.items():
        undo, told = rows[name]
        if undo.strip() == "":
            complaints.append(f"{name} has nothing that undoes it, and does not say so")
        if function := function_of(task):
            errors, common = errors_of(function), set(shared.split())
            tells_all = common <= errors and told == " ".join(sorted(errors - common))
        else:
            tells_all = told == THE_BUILDS
        if not tells_all:
            complaints.append(f"{name} fails otherwise than with {told} or {shared}")
    return complaints


def cleans_up_last(definition: Definition) -> list[str]:
    """For the build: from the claim on, every path to the end passes CleanUp."""
    reached, open_ends = set(), ["ClaimBuild"]
    while open_ends:
        name = open_ends.pop()
        if name not in reached and name != "CleanUp":
            reached.add(name)
            open_ends += _successors(definition["States"][name])
    # A build that turns out to be unchanged has created nothing yet.
    ends = {name for name in reached if definition["States"][name]["Type"] in ("Succeed", "Fail")}
    return [f"{name} is reached without CleanUp" for name in sorted(ends - {"NothingToDo"})]


def _successors(state: State) -> set[str]:
    found = {state.get("Next"), state.get("Default")}
    for branch in [*state.get("Choices", []), *state.get("Catch", [])]:
        found.add(branch["Next"])
    return {name for name in found if name}


def _counter_of(state: State) -> str | None:
    """The variable with the seconds waited that a Task gives to its function, if it does."""
    if function_of(state) is None:
        return None
    given = state["Arguments"].get("Payload", {}).get("waitedSeconds", "")
    # The variable alone or as the first argument of $max.
    counter = re.fullmatch(r"\{% (?:\$max\(\[)?\$(\w*[wW]aitedSeconds)(?:, .+\]\))? %\}", given)
    return counter and counter[1]


def _counts(wait: State, counter: str | None) -> bool:
    """Whether a Wait adds its seconds to the counter."""
    seconds = str(wait["Seconds"]).removeprefix("{% ").removesuffix(" %}")
    return wait.get("Assign", {}).get(str(counter)) == f"{{% ${counter} + {seconds} %}}"


BOUNDED = ("MayLaunchAgain",)
"""Choices that end a loop by other means: see replaces_an_interrupted_builder."""


def bounds_every_loop(definition: Definition) -> list[str]:
    """Every cycle passes a Wait that adds its seconds to the counter that the next Task gets.

    So no cycle spins, and the function can compare the counter with its time limit.
    """
    complaints = []
    for machine in machines_of(definition):
        states = machine["States"]
        graph = {
            name: _successors(state)
            for name, state in states.items()
            if name not in BOUNDED
            and not (state["Type"] == "Wait" and _counts(state, _counter_of(states[state["Next"]])))
        }
        while leaves := [name for name, after in graph.items() if not after & graph.keys()]:
            for name in leaves:
                del graph[name]
        if graph:
            complaints.append(f"{', '.join(sorted(graph))} can loop without end")
    return complaints


def waits_a_second_at_least(definition: Definition) -> list[str]:
    """The seconds of every Wait are a variable that a Task assigns, and at least 1."""
    complaints = []
    for machine in machines_of(definition):
        for name, state in machine["States"].items():
            if state["Type"] != "Wait":
                continue
            variable = re.fullmatch(r"\{% \$(\w+) %\}", str(state["Seconds"]))
            assigned = machine["States"][state["Next"]].get("Assign", {})
            seconds = "{% $max([1, $states.result.Payload.waitSeconds]) %}"
            if not variable or assigned.get(variable[1]) != seconds:
                complaints.append(f"{name} may wait no time at all")
    return complaints


def counts_each_loop_from_zero(definition: Definition) -> list[str]:
    """A Choice that ends a loop resets its counter, if a later Task gets the same counter."""
    complaints = []
    for machine in machines_of(definition):
        states = machine["States"]
        for name, state in states.items():
            after = states.get(state.get("Next"), {})
            counter = _counter_of(state)
            if counter is None or after.get("Type") != "Choice":
                continue
            for branch in [*after["Choices"], {**after, "Next": after["Default"]}]:
                is_loop = states[branch["Next"]]["Type"] == "Wait"
                if is_loop or branch.get("Assign", {}).get(counter) == 0:
                    continue
                later = _reachable(states, branch["Next"])
                if any(_counter_of(states[one]) == counter for one in later):
                    complaints.append(f"{state['Next']} keeps what {name} waited")
    return complaints


def _reachable(states: dict[str, State], start: str) -> set[str]:
    reached, open_ends = set(), {start}
    while open_ends:
        name = open_ends.pop()
        reached.add(name)
        open_ends |= _successors(states[name]) - reached
    return reached


def waits_for_those_who_ask(definition: Definition, waiting: set[str]) -> list[str]:
    """Exactly the calls of a function that may report waiting are in a loop.

    `waiting` has the names of these functions.
    """
    complaints = []
    for machine in machines_of(definition):
        for name, task in machine["States"].items():
            function = function_of(task)
            if function is None:
                continue
            loops = any(
                state["Type"] == "Wait" and state["Next"] == name
                for state in machine["States"].values()
            )
            if loops and function not in waiting:
                complaints.append(f"{name} has a loop, and {function} never waits")
            if function in waiting and not loops:
                complaints.append(f"{name} has no loop, and {function} may wait")
    return complaints


def measures_every_phase(definition: Definition) -> list[str]:
    """For the build: each phase on the way to the publication records its end.

    Each call of a step overwrites what the one before wrote, so the last one stays. The names are
    those that the publish function reads: `PhaseEnds` in Rust.
    """
    complaints = []
    for name, state in definition["States"].items():
        written = state.get("Assign", {}).get("phaseEnds")
        ends = (
            f"$merge([$phaseEnds, {{'{PHASES.get(name)}': $floor(($millis() - $began) / 1000)}}])"
        )
        if name in PHASES and written != f"{{% {ends} %}}":
            complaints.append(f"{name} does not note the end of {PHASES[name]}")
        if name not in PHASES and written not in (None, {}):
            complaints.append(f"{name} is no phase and notes an end")
    return complaints


def names_known_errors(definition: Definition, error_names: set[str]) -> list[str]:
    complaints = []
    for name, state in states_of(definition):
        for handler in [*state.get("Retry", []), *state.get("Catch", [])]:
            matched = handler["ErrorEquals"]
            if "States.ALL" in matched and len(matched) > 1:
                complaints.append(f"{name} names States.ALL beside others")
            complaints += [
                f"{name} matches {error}, which nothing produces"
                for error in matched
                if error not in error_names | SERVICE_ERRORS
            ]
    return complaints


def retries_what_heals(definition: Definition, retryable: set[str]) -> list[str]:
    """Retry matches exactly those of our error names that are retryable in Rust.

    It also matches all transient errors of Lambda.
    """
    complaints = []
    for name, task in tasks_of(definition):
        matched = {error for retrier in task.get("Retry", []) for error in retrier["ErrorEquals"]}
        ours = matched - SERVICE_ERRORS
        if task["Resource"] == CALL_LAMBDA and ours != retryable:
            complaints.append(f"{name} retries {sorted(ours)}, not {sorted(retryable)}")
        if task["Resource"] == CALL_LAMBDA and not matched >= LAMBDA_PASSES:
            complaints.append(f"{name} does not retry {sorted(LAMBDA_PASSES - matched)}")
    return complaints


def _variables_of(machine: Definition) -> set[str]:
    """The variables that this machine's states assign, without those inside its Maps."""
    return {
        variable
        for state in machine["States"].values()
        for part in [state, *state.get("Choices", []), *state.get("Catch", [])]
        for variable in part.get("Assign", {})
    }


def assigns_no_variable_of_the_outside(definition: Definition) -> list[str]:
    """Step Functions refuses a variable inside a Map that has the name of an outer one.

    The local cloud gives each iteration a copy of all variables, so it does not notice this.
    """
    complaints = []
    for machine in machines_of(definition):
        outside = _variables_of(machine)
        for name, state in machine["States"].items():
            if state["Type"] == "Map":
                inside = {
                    one
                    for inner in machines_of(state["ItemProcessor"])
                    for one in _variables_of(inner)
                }
                complaints += [f"{name} assigns ${one} of the outside" for one in inside & outside]
    return complaints


def names_variables_as_allowed(definition: Definition) -> list[str]:
    """Step Functions reserves `$states`, and refuses names that are not identifiers."""
    names = {one for machine in machines_of(definition) for one in _variables_of(machine)}
    return [
        f"${name} cannot be assigned"
        for name in sorted(names)
        if name == "states" or not re.fullmatch(r"[A-Za-z_]\w{0,79}", name)
    ]


def uses_known_variables(definition: Definition) -> list[str]:
    """Every variable and function exists where it is used; an iteration's only inside its Map."""
    return _unknown_names(definition, set())


def _unknown_names(machine: Definition, outside: set[str]) -> list[str]:
    assigned = outside | _variables_of(machine)
    complaints = []
    for name, state in machine["States"].items():
        if state["Type"] == "Map":
            complaints += _unknown_names(state["ItemProcessor"], assigned)
        own = {field: value for field, value in state.items() if field != "ItemProcessor"}
        for expression in expressions_of(own):
            code = TEXT.sub("''", expression)
            local = set(re.findall(r"\$(\w+)\s*:=", code))
            for parameters in re.findall(r"function\(([^)]*)\)", code):
                local |= set(re.findall(r"\$(\w+)", parameters))
            called = set(re.findall(r"\$(\w+)\(", code))
            read = set(re.findall(r"\$([A-Za-z_]\w*)", code)) - called - local - {"states"}
            complaints += [f"{name} reads ${one}, never assigned" for one in read - assigned]
            unknown = called - local - KNOWN_FUNCTIONS
            complaints += [f"{name} calls ${one}, not known" for one in unknown]
    return complaints


def reads_results_where_they_exist(definition: Definition) -> list[str]:
    complaints = []
    for name, state in states_of(definition):
        if state["Type"] in ("Task", "Map"):
            before = {field: state.get(field) for field in ("Arguments", "Items", "ItemSelector")}
            after = {field: state.get(field) for field in ("Assign", "Output")}
        else:
            before, after = state, {}
        if any("$states.result" in one for one in expressions_of(before)):
            complaints.append(f"{name} reads a result before there is one")
        if any("$states.errorOutput" in one for one in expressions_of([before, after])):
            complaints.append(f"{name} reads an error outside a Catch")
        if any("$states.result" in one for one in expressions_of(state.get("Catch", []))):
            complaints.append(f"{name} reads a result in a Catch")
    return complaints


def agrees_on_substitutions(text: str, defined: set[str]) -> list[str]:
    """Definition (`text`) and template (`defined`) must have the same substitutions."""
    used = set(re.findall(r"\$\{(\w+)\}", text))
    return [f"${{{name}}} is not defined in the template" for name in sorted(used - defined)] + [
        f"{name} is defined in the template, not used" for name in sorted(defined - used)
    ]
