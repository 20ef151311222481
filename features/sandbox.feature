Feature: A plan's files are those of its checkpoint
  Steps work in files of the plan's own. Whatever ends a worker: the next one finds exactly what the last checkpoint had.

  Background:
    Given the file "project/a.txt":
      """
      first
      """
    And the file "project/b.txt":
      """
      second
      """
    And the file "plan.yaml":
      """
      plan: orders
      sandbox: { from: project }
      steps:
        - { id: fix, run: "echo fixed > a.txt; . {here}/act" }
        - { id: change, run: "ls > found; echo half > a.txt; echo new > c.txt; rm b.txt; . {here}/act" }
        - { id: look, sandbox: read, run: "paste -sd' ' found a.txt; . {here}/act" }
      """

  Rule: A resume puts the files of the checkpoint back

    Scenario: The worker is killed in a step that has changed files
      Given its worker was killed in "change"
      When I run `plan resume {plan} --dry-run -o json`
      Then it exits with 0
      And its "sandbox.files" is 2
      And its "sandbox.changed.0" is "a.txt"
      And its "sandbox.added.0" is "c.txt"
      And its "sandbox.added.1" is "found"
      And its "sandbox.removed.0" is "b.txt"
      And nothing in Redis has changed
      And no file of a sandbox was touched
      When I run `plan resume {plan}`
      Then it exits with 0
      And it says `1 changed, 2 added, 1 removed since: restored (kept as sha256:`
      When I run `plan logs {plan} look`
      Then it says `a.txt b.txt found`
      When I run `plan history {plan}`
      Then it says `sandbox.kept`
      And the file "project/a.txt" is "first"

    Scenario: The worker is killed between two steps
      Given "look" takes long
      And its worker was killed after "change"
      When I run `plan resume {plan} --dry-run`
      Then it says `sha256:`
      And it does not say `restored`
      When "look" may end
      And I run `plan resume {plan}`
      Then it exits with 0
      And "fix", "change" did their work once each

    Scenario: What was left changes between the dry-run and the resume
      Given its worker was killed in "change"
      And I run `plan resume {plan} --dry-run`
      And I note its token
      When somebody writes "more" to "c.txt" of the sandbox
      And I run `plan resume {plan} --expect {token}`
      Then it exits with 5
      And it says `PREVIEW_STALE`

  Rule: A resume that can't have the files back is refused

    Scenario: The snapshot of the checkpoint is gone
      Given its worker was killed in "change"
      And the snapshots are gone
      When I run `plan resume {plan}`
      Then it exits with 3
      And it says `Error: SANDBOX_MISSING: Snapshot sha256:`
      And it says `Try: plan checkpoints {plan}`
      And it was resumed never

    Scenario: The snapshot of the checkpoint was damaged
      Given its worker was killed in "change"
      And somebody has written to what the snapshots consist of
      When I run `plan resume {plan} --dry-run`
      Then it exits with 3
      And it says `Error: SANDBOX_CORRUPT: Snapshot sha256:`

  Rule: One step writes at a time

    Scenario: Writers take turns, readers don't wait
      Given the file "plan.yaml":
        """
        plan: orders
        sandbox: { from: project }
        steps:
          - { id: write-1, needs: [], run: "echo 1 >> a.txt; . {here}/act" }
          - { id: write-2, needs: [], run: "echo 2 >> a.txt; . {here}/act" }
          - { id: read-1, needs: [], sandbox: read, run: ". {here}/act" }
          - { id: read-2, needs: [], sandbox: read, run: ". {here}/act" }
          - { id: all, needs: [write-1, write-2, read-1, read-2], run: "paste -sd' ' a.txt; . {here}/act" }
        """
      And "write-1" takes long
      And "read-1" takes long
      And "read-2" takes long
      When I start `plan run plan.yaml --id {plan}`
      And "write-1" has begun
      And "read-1" has begun
      And "read-2" has begun
      And I run `plan get {plan}`
      Then it says `waits for its turn to write the sandbox`
      And "write-2" began never
      When "read-1" may end
      And "read-2" may end
      And "write-1" may end
      And it ends
      Then the plan is completed
      When I run `plan logs {plan} all`
      Then it says `first 1 2`
