Feature: A plan runs here, to the end

  Scenario: A plan that nobody disturbs
    Given a plan with the steps "reserve", "charge", "ship"
    When I run `plan run plan.yaml --id {plan}`
    Then it exits with 0
    And it says on stdout `Plan orders-1 is completed: 3 steps`
    And it says on stderr `✔ charge`
    And "reserve", "charge", "ship" did their work once each

  Scenario: A step is tried again, later each time
    Given a plan with the steps "reserve", "charge", each of which is tried up to 3 times
    And "charge" is broken
    When I run `plan run plan.yaml --id {plan}`
    Then it exits with 1
    And "charge" began 3 times
    And the delays before its attempts grew
    And its history has
      | event       | step   | count |
      | step.failed | charge | 3     |
      | plan.failed |        | 1     |

  Scenario: A person approves from another terminal
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: reserve, act: }
        - { id: sign-off, uses: approve, with: { message: "Ship it?" } }
        - { id: ship, act: }
      """
    When I start `plan run plan.yaml --id {plan}`
    And it has said "Answer with: plan approve orders-1 sign-off"
    And I run `plan approve {plan} sign-off --rationale 'paid' --actor ada`
    Then it exits with 0
    When it ends
    Then it exits with 0
    And "reserve", "ship" did their work once each
    When I run `plan decisions {plan} -o json`
    Then its "1.choice" is "approve"
    And its "1.made_by" is "ada"
    And its "1.rationale" is "paid"

  Scenario: A person rejects from another terminal
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: sign-off, uses: approve, with: { message: "Ship it?" } }
        - { id: ship, act: }
      """
    When I start `plan run plan.yaml --id {plan}`
    And it has said "Answer with: plan approve orders-1 sign-off"
    And I run `plan approve {plan} sign-off --reject`
    Then it exits with 0
    When it ends
    Then it exits with 1
    And the plan is cancelled
    And "ship" began never

  Scenario: A signal carries data
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: paid, uses: wait }
        - { id: ship, env: { AMOUNT: "${{ steps.paid.output.amount }}" }, run: "echo $AMOUNT" }
      """
    When I start `plan run plan.yaml --id {plan} -o json`
    And the plan waits for "paid"
    And I run `plan signal {plan} paid --data '{"amount":42}'`
    Then it exits with 0
    When it ends
    Then it exits with 0
    And stdout is one JSON document
    And its "output" is 42

  Scenario: A signal that doesn't fit what its step expects is refused, and the step waits on
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - id: paid
          uses: wait
          with: { schema: { type: object, required: [amount], properties: { amount: { type: integer } } } }
      """
    When I start `plan run plan.yaml --id {plan}`
    And the plan waits for "paid"
    And I run `plan signal {plan} paid --data '{"amount":"42"}'`
    Then it exits with 2
    And it says on stderr `Error: INVALID_INPUT: The signal to paid is not valid: amount: must be integer.`
    When I run `plan signal {plan} paid --data '{"amount":42}'`
    Then it exits with 0
    When it ends
    Then it exits with 0

  Scenario Outline: Nobody answers in time: the step <what>
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: paid, uses: wait, with: { timeout: 200ms, onTimeout: <onTimeout> } }
        - { id: ship, act: }
      """
    When I run `plan run plan.yaml --id {plan}`
    Then it exits with <exit>
    And it says on <stream> `<says>`

    Examples:
      | onTimeout | what    | exit | stream | says                                                               |
      | fail      | fails   | 1    | stderr | STEP_FAILED: Step paid of plan orders-1 failed: no signal came within 200ms |
      | continue  | goes on | 0    | stdout | Plan orders-1 is completed: 2 steps                                 |

  Scenario: The same id twice is the same plan
    Given a plan with the steps "reserve"
    And it is completed
    When I run `plan run plan.yaml --id {plan} -o json`
    Then it exits with 0
    And its "existing" is true
    And "reserve" began once

  Scenario: The same id for something else
    Given a plan with the steps "reserve"
    And it is completed
    And the file "other.yaml":
      """
      plan: something-else
      steps: [{ run: "true" }]
      """
    When I run `plan run other.yaml --id {plan}`
    Then it exits with 5
    And it says on stderr `Error: PLAN_EXISTS: Plan orders-1 exists already`

  Scenario: The log of a step that failed
    Given a plan with the steps "reserve", "charge", each of which is tried up to 1 times
    And it failed in "charge"
    When I run `plan logs {plan} --failed`
    Then it exits with 0
    And it says on stdout `charge is broken`
    And it does not say `reserve`

  Scenario Outline: With -o json there is one document on stdout: `<command>`
    Given a plan with the steps "reserve", "charge", each of which is tried up to 1 times
    And it failed in "charge"
    When I run `plan <command> -o json`
    Then it exits with <code>
    And stdout is one JSON document

    Examples:
      | command                            | code |
      | get {plan}                         | 0    |
      | list                               | 0    |
      | history {plan}                     | 0    |
      | logs {plan}                        | 0    |
      | checkpoints {plan}                 | 0    |
      | decisions {plan}                   | 0    |
      | workers                            | 0    |
      | doctor                             | 0    |
      | validate plan.yaml                 | 0    |
      | resume {plan} --dry-run            | 0    |
      | resume {plan}                      | 1    |
      | resume {plan} --from-step nope     | 4    |
      | run plan.yaml --id {plan}          | 1    |
      | run plan.yaml                      | 1    |
      | watch {plan}                       | 0    |
      | watch {plan} --exit-status         | 1    |
      | pause {plan}                       | 0    |
      | cancel {plan}                      | 0    |
      | get nothing-1                      | 4    |
      | approve {plan} charge              | 3    |
      | lst                                | 2    |
