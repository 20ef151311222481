Feature: Stopping loses nothing
  Ctrl-C and SIGTERM let what is active end, hand back what can't, and say how to go on.

  Scenario Outline: A run is stopped with <signal>
    Given a plan with the steps "reserve", "charge", "ship"
    And "charge" takes long
    When I start `plan run plan.yaml --id {plan}`
    And "charge" has begun
    And <stop>
    And it has said "Stopping"
    And "charge" may end
    And it ends
    Then it exits with 130
    And it says on stderr `Interrupted after step "charge". Resume with: plan resume orders-1`
    And the plan is interrupted
    And "ship" began never
    When I run `plan resume {plan}`
    Then it exits with 0
    And "reserve", "charge", "ship" did their work once each

    Examples:
      | signal  | stop              |
      | Ctrl-C  | I press Ctrl-C    |
      | SIGTERM | it gets a SIGTERM |

  Scenario: The second Ctrl-C hands back at once
    Given a plan with the steps "reserve", "charge", "ship"
    And "charge" takes long
    When I start `plan run plan.yaml --id {plan}`
    And "charge" has begun
    And I press Ctrl-C
    And it has said "Stopping"
    And I press Ctrl-C once more
    And it ends
    Then it exits with 130
    And it says on stderr `Interrupted after step "reserve". Resume with: plan resume orders-1`
    And its history has
      | event         | step   | count |
      | step.released | charge | 1     |
      | step.failed   | charge | 0     |
      | step.crashed  | charge | 0     |
    When "charge" may end
    And I run `plan resume {plan}`
    Then it exits with 0
    And "reserve", "ship" did their work once each
    And "charge" ended once

  Scenario: Stopped before anything was done
    Given a plan with the steps "reserve", "charge"
    And "reserve" takes long
    When I start `plan run plan.yaml --id {plan} -o json`
    And "reserve" has begun
    And I press Ctrl-C
    And it has said "Stopping"
    And I press Ctrl-C once more
    And it ends
    Then it exits with 130
    And stdout is one JSON document
    And its "state" is "interrupted"
    And it says on stderr `Interrupted before its first step was done. Resume with: plan resume orders-1`

  Scenario: A resume is stopped, and resumed
    Given a plan with the steps "reserve", "charge", "ship"
    And its worker was killed in "reserve"
    And "charge" takes long
    When I start `plan resume {plan}`
    And "charge" has begun
    And it gets a SIGTERM
    And it has said "Stopping"
    And "charge" may end
    And it ends
    Then it exits with 130
    And it says on stderr `Interrupted after step "charge"`
    When I run `plan resume {plan}`
    Then it exits with 0
    And "charge", "ship" did their work once each

  Scenario: A worker of a fleet is deployed anew
    Given a Redis that several machines share
    And a plan with the steps "reserve", "charge", "ship"
    And "charge" takes long
    And a worker that trusts "plan.yaml"
    And it was submitted
    When "charge" has begun
    And that worker gets a SIGTERM
    And "charge" may end
    And that worker ends
    Then it exits with 0
    Given a worker that trusts "plan.yaml"
    Then the plan becomes completed
    And "reserve", "charge", "ship" did their work once each

  Scenario: A worker has no time to end its step
    Given a Redis that several machines share
    And a plan with the steps "reserve", "charge"
    And "charge" takes long
    And a worker with a grace of 1s that trusts "plan.yaml"
    And it was submitted
    When "charge" has begun
    And that worker gets a SIGTERM
    And that worker ends
    Then it exits with 0
    And its history has
      | event         | step   | count |
      | step.released | charge | 1     |
      | step.failed   | charge | 0     |
    When "charge" may end
    Given a worker that trusts "plan.yaml"
    Then the plan becomes completed
    And "reserve" began once
    And "charge" ended once
