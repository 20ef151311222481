Feature: What is wrong is said at once

  Scenario: A word from another tool
    When I run `plan retry orders-1`
    Then it exits with 2
    And it says on stderr `Error: USAGE: There is no command "retry"; did you mean resume?`
    And it says on stderr `Try: plan resume orders-1`

  Scenario: A mistyped option
    When I run `plan resume orders-1 --dryrun`
    Then it exits with 2
    And it says on stderr `did you mean --dry-run?`
    And it says on stderr `Try: plan resume orders-1 --dry-run`

  Scenario: A mistyped option, for a program
    When I run `plan resume orders-1 --dryrun -o json`
    Then it exits with 2
    And stdout is one JSON document
    And its "error.code" is "USAGE"
    And its "error.try" is "plan resume orders-1 --dry-run -o json"

  Scenario: A document with many faults
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: reserve, run: "true", needs: [ship] }
        - { id: charge, runs: "true" }
        - { id: reserve, uses: shel }
        - { id: "a b", run: "true" }
        - { id: ship, run: "true", needs: [nobody, reserve] }
        - { id: tell, run: "echo ${{ input.name }}", timeout: soon }
      """
    When I run `plan validate plan.yaml`
    Then it exits with 2
    And it says on stdout `plan.yaml:4:19  steps[1] has no key "runs"`
    And it says on stdout `did you mean`
    And it says on stdout `"nobody"`
    And it says on stdout `timeout`
    And it says on stderr `Error: INVALID_PLAN: plan.yaml has`
    When I run `plan run plan.yaml -o json`
    Then it exits with 2
    And stdout is one JSON document
    And its "error.code" is "INVALID_PLAN"
    And there is no plan

  Scenario: A cycle
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: a, needs: [c], run: "true" }
        - { id: b, needs: [a], run: "true" }
        - { id: c, needs: [b], run: "true" }
      """
    When I run `plan submit plan.yaml`
    Then it exits with 2
    And it says on stderr `Error: INVALID_PLAN:`
    And it says on stderr `a → c → b → a`
    And there is no plan

  Scenario: An input that does not fit
    Given the file "plan.yaml":
      """
      plan: orders
      input: { tag: { type: string, pattern: "^v" }, count: { type: integer } }
      steps: [{ run: "true" }]
      """
    When I run `plan run plan.yaml --input tag=1.0`
    Then it exits with 2
    And it says on stderr `Error: INVALID_INPUT:`
    And it says on stderr `count`
    And there is no plan

  Scenario: Two settings are wrong
    When I run `plan list --prefix a:b --redis-url nonsense`
    Then it exits with 2
    And it says on stderr `2 settings are wrong`

  Scenario Outline: No Redis answers: `<command>`
    Given a Redis address where nobody answers
    And a plan with the steps "reserve"
    When I run `plan <command>`
    Then it exits with 6 within 3 seconds
    And it says on stderr `Error: STORE_UNAVAILABLE: No answer from Redis at redis://`

    Examples:
      | command              |
      | list                 |
      | resume {plan}        |
      | submit plan.yaml     |
      | run plan.yaml        |
      | worker               |
