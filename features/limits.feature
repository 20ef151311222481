Feature: Steps of all plans share what there is

  Scenario: A step that has to wait for a limit says so, and begins when there is room
    Given a Redis that several machines share
    And the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: charge, concurrency: { key: bank, limit: 1 }, act: }
        - { id: refund, needs: [], concurrency: { key: bank, limit: 1 }, act: }
      """
    And "charge" takes long
    And a worker that trusts "plan.yaml"
    And it was submitted
    When "charge" has begun
    And "refund" is limited
    And I run `plan get {plan}`
    Then it says `waits for the limit bank (1 of 1 in use)`
    When "charge" may end
    Then the plan becomes completed
    And "charge", "refund" did their work once each

  Scenario: No more steps begin than the rate lets begin
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: charge, rate: { key: bank, max: 1, per: 1s }, act: }
        - { id: refund, needs: [], rate: { key: bank, max: 1, per: 1s }, act: }
      """
    When I run `plan run plan.yaml --id {plan}`
    Then it exits with 0
    And its steps began at least 1000 ms apart

  Scenario: A limit that can't be one is a fault with its place
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: charge, concurrency: { key: bank, limit: 0 }, act: }
      """
    When I run `plan validate plan.yaml`
    Then it exits with 2
    And it says on stderr `INVALID_PLAN: plan.yaml has 1 fault, the first in line 3, column 52.`
