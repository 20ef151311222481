Feature: A plan goes back to an earlier point
  What stood there is what it goes on with: the steps, the decisions, the files. What doesn't rest on the point stays.

  Scenario: A decision is set by somebody else, and only what rests on it runs again
    Given the file "plan.yaml":
      """
      plan: orders
      defaults: { retry: { attempts: 1 } }
      steps:
        - { id: reserve, act: }
        - { id: carrier, needs: [reserve], uses: ask, with: { question: "Who ships?", options: [dhl, ups] } }
        - { id: pack, needs: [reserve], act: }
        - { id: ship, needs: [carrier, pack], act: }
      """
    And "ship" is broken
    When I start `plan run plan.yaml --id {plan}`
    And the plan waits for "carrier"
    And I run `plan decide {plan} carrier dhl`
    And it ends
    And "ship" is mended
    And I note the decision of "carrier"
    And I run `plan resume {plan} --from-decision {decision} --choose fedex`
    Then it exits with 2
    And it says on stderr `Error: INVALID_CHOICE: "fedex" is none of the options of decision`
    When I run `plan resume {plan} --from-decision {decision} --choose ups --dry-run`
    Then it exits with 0
    And it says that it would reuse "reserve, pack" and run "carrier, ship"
    And nothing in Redis has changed
    When I run `plan resume {plan} --from-decision {decision} --choose ups`
    Then it exits with 0
    And the plan is completed
    And "reserve", "pack" did their work once each
    When I run `plan decisions {plan}`
    Then it says `"dhl"`
    And it says `superseded`
    And it says `"ups"`

  Scenario: A checkpoint of a line that is gone can't be gone back to
    Given a plan with the steps "reserve", "charge", "ship", each of which is tried up to 1 times
    And it failed in "ship"
    When I note the checkpoint after "charge"
    And I run `plan resume {plan} --from-step charge`
    Then it exits with 1
    When I run `plan resume {plan} --from-checkpoint {checkpoint}`
    Then it exits with 4
    And it says on stderr `is not in its current line any more: epoch 2 began without it`
    And it says on stderr `Try: plan checkpoints orders-1`
    And "reserve" began once
    And "charge" began twice
    When I run `plan logs {plan} charge`
    Then it says `attempt 1, superseded after epoch 1`

  Scenario: What can't be undone isn't done twice unasked
    Given the file "plan.yaml":
      """
      plan: orders
      defaults: { retry: { attempts: 1 } }
      steps:
        - { id: reserve, act: }
        - { id: charge, effect: irreversible, act: }
        - { id: ship, act: }
      """
    And it failed in "ship"
    When "ship" is mended
    And I run `plan resume {plan} --from-step reserve --dry-run`
    Then it exits with 3
    And it says `Ask        whether charge shall run again: it is irreversible`
    And it says on stderr `Error: ACK_REQUIRED: charge of plan orders-1 cannot be undone and would run again: say that it shall`
    And it says on stderr `Try: plan resume orders-1 --from-step reserve --ack charge=redo`
    And "charge" began once
    When I run `plan resume {plan} --from-step reserve --ack charge=redo`
    Then it exits with 0
    And "charge" began twice
    When I run `plan decisions {plan}`
    Then it says `Shall charge happen again? "redo"`

  Rule: A definition that changed since

    Background:
      Given the file "plan.yaml":
        """
        plan: orders
        defaults: { retry: { attempts: 1 } }
        steps:
          - { id: reserve, act: }
          - { id: charge, act: }
          - { id: ship, act: }
        """
      And it failed in "ship"
      And "ship" is mended
      And the file "plan.yaml":
        """
        plan: orders
        version: 2
        steps:
          - { id: reserve, act: }
          - { id: charge, rev: "2", act: }
          - { id: ship, act: }
          - { id: tell, act: }
        """

    Scenario: A document that changed is reported, and the plan runs what it was submitted with
      When I run `plan resume {plan} --dry-run`
      Then it exits with 0
      And it says `Drift      charge changed, tell added`
      And it says that it would reuse "reserve, charge" and run "ship"
      And nothing in Redis has changed
      When I run `plan resume {plan}`
      Then it exits with 0
      And the plan is completed
      And "tell" began never

    Scenario: It is refused where that was asked for
      When I run `plan resume {plan} --on-drift refuse`
      Then it exits with 3
      And it says on stderr `Error: DEFINITION_DRIFT: Plan orders-1 runs under orders v1, and the definition that is offered differs: charge changed, tell added.`
      And it says on stderr `Try: plan resume orders-1 --on-drift keep`

    Scenario: It goes on under the new definition, with everything that is recorded
      When I run `plan resume {plan} --on-drift keep`
      Then it exits with 0
      And the plan is completed
      And "charge" began once
      And "tell" began once
      When I run `plan get {plan}`
      Then it says `orders v2`

    Scenario: It starts again at the first step that changed
      When I run `plan resume {plan} --on-drift rerun`
      Then it exits with 0
      And "reserve" began once
      And "charge" began twice
      And "tell" began once
