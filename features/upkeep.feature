Feature: A store is looked after
  What is stored can be held to what happened, and what is done with can go.

  Scenario: Somebody has written to the store
    Given a plan with the steps "reserve", "ship"
    And it is completed
    When I run `plan verify {plan}`
    Then it exits with 0
    And it says on stdout `2 checkpoints: all invariants hold.`
    Given somebody has set "last_completed_step" of the plan to "reserve" in Redis
    When I run `plan verify {plan}`
    Then it exits with 1
    And it says on stdout `✖ I5  last_completed_step is reserve; the newest of the line is ship`
    When I run `plan verify --all -o json`
    Then it exits with 1
    And its "0.violations.0.invariant" is "I5"
    Given somebody has set "last_completed_step" of the plan to "ship" in Redis
    When I run `plan verify --all`
    Then it exits with 0

  Scenario: Plans that are over go, and those that are not stay
    Given a plan with the steps "reserve", "ship"
    And it is completed
    And "ship" is broken
    When I run `plan run plan.yaml --id orders-2`
    And I run `plan prune`
    Then it says on stdout `Removed 0 plans that ended more than 30d ago`
    When I run `plan prune --older-than 0s --dry-run`
    Then it exits with 0
    And it says on stdout `Would remove 1 plan that ended`
    And nothing in Redis has changed
    When I run `plan prune --older-than 0s`
    Then it says on stdout `orders-1`
    And it says on stdout `Removed 1 plan that ended`
    And there are 1 plans, all failed
    When I run `plan get {plan}`
    Then it exits with 4
    When I run `plan prune --older-than 30`
    Then it exits with 2
    And it says on stderr `--older-than takes a duration with its unit, such as 30d or 12h, not "30"`
