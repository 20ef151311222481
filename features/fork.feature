Feature: A new plan starts from what another one has done
  A plan that is over never changes again, and one that goes on is left alone: what somebody wants to try from its checkpoint
  is another plan.

  Scenario: A cancelled plan goes on as another one, as its refusal suggests
    Given a plan with the steps "reserve", "charge", "ship"
    And its worker was killed in "charge"
    When I run `plan cancel {plan} --reason 'customer left'`
    And I run `plan resume {plan}`
    Then it exits with 3
    And it says on stderr `Try: plan fork orders-1`
    When I run `plan fork {plan} --id orders-2 --dry-run`
    Then it exits with 0
    And it says that it would reuse "reserve" and run "charge, ship"
    And it says `Forked     from orders-1  cancelled  (epoch 2)`
    And it says `(dry run) nothing was written`
    And nothing in Redis has changed
    When I run `plan fork {plan} --id orders-2`
    Then it exits with 0
    And it says that it would reuse "reserve" and run "charge, ship"
    And it says on stdout `Plan orders-2 is forked.`
    And it says on stderr `Try: plan resume orders-2`
    When I run `plan resume orders-2`
    Then it exits with 0
    And "reserve" began once
    And "ship" ended once
    When I run `plan fork {plan} --id orders-2`
    Then it exits with 0
    And it says on stdout `Plan orders-2 exists already; it is completed.`
    When I run `plan fork {plan} --id orders-2 --from-step reserve -o json`
    Then it exits with 5
    And its "error.code" is "PLAN_EXISTS"
    And the plan is cancelled

  Scenario: The new plan says where it comes from
    Given a plan with the steps "reserve", "charge", "ship"
    And it is completed
    When I run `plan fork {plan} --id orders-2 --from-step charge -o json`
    Then it exits with 0
    And stdout is one JSON document with the keys "plan_id, forked_from, name, version, eligible, phase, step, decision_id, last_completed_step, last_checkpoint_id, sandbox, reuse, run, repeated, from, new_input, workers, existing, dry_run, error"
    And its "plan_id" is "orders-2"
    And its "forked_from.plan_id" is "orders-1"
    And its "run" is ["charge", "ship"]
    When I run `plan get orders-2`
    Then it says `Forked     from orders-1 (epoch 1) at step charge`
    When I run `plan history orders-2`
    Then it says `plan.forked        from orders-1 (epoch 1) at step charge by`
    When I run `plan fork {plan} --from-step nothing`
    Then it exits with 4
    And it says on stderr `Error: STEP_NOT_FOUND: Plan orders-1 has no step nothing`
    And the plan is completed

  Scenario: A new input is that of the steps that run
    Given the file "plan.yaml":
      """
      plan: orders
      input: { to: { type: string, pattern: "^[a-z]+$" } }
      steps:
        - { id: reserve, act: }
        - { id: label, env: { TO: "${{ input.to }}" }, run: "echo to $TO > {here}/label" }
      """
    When I run `plan run plan.yaml --id {plan} --input to=ann`
    And I run `plan fork {plan} --from-step label --input to=7`
    Then it exits with 2
    And it says on stderr `Error: INVALID_INPUT:`
    When I run `plan fork {plan} --from-step label --input to=bob --id orders-2`
    Then it exits with 0
    And it says `Input      a new one; what is reused was made of the old one`
    When I run `plan resume orders-2`
    Then it exits with 0
    And the file "label" is "to bob"
    And "reserve" began once
