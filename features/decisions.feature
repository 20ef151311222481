Feature: A decision is made once, by whoever is asked
  A model or a person chooses, and the choice is recorded before anything follows from it. Whatever is killed afterwards,
  nobody is asked again and nothing is decided otherwise.

  Rule: What a step decided survives it

    Scenario: The worker is killed after the decision
      Given a plan in code whose step "choose" decides between "patch" and "rewrite"
      And its worker was killed in "choose"
      When I run `plan resume {plan} --dry-run`
      Then it says `"patch"  will not be asked again`
      And nothing in Redis has changed
      When I run `plan resume {plan}`
      Then it exits with 0
      And "asked" began once
      And "choose" began twice
      When I run `plan decisions {plan}`
      Then it says `choose/how: How? "patch" of patch, rewrite (it is quicker)`
      And it says `by a model`

    Scenario: The step fails after the decision, and is resumed
      Given a plan in code whose step "choose" decides between "patch" and "rewrite"
      And it failed in "choose"
      When "choose" is mended
      And I run `plan resume {plan}`
      Then it exits with 0
      And "asked" began once

    Scenario: Going back before the decision takes it anew
      Given a plan in code whose step "choose" decides between "patch" and "rewrite"
      And it failed in "choose"
      When "choose" is mended
      And I run `plan resume {plan} --from-step choose`
      Then it exits with 0
      And "asked" began twice

  Rule: A person chooses among the options

    Background:
      Given the file "plan.yaml":
        """
        plan: orders
        steps:
          - { id: reserve, act: }
          - { id: how, uses: ask, with: { question: "Ship how?", options: [air, sea] } }
          - { id: ship, act: }
        """
      When I start `plan run plan.yaml --id {plan}`
      And it has said "Answer with: plan decide orders-1 how CHOICE"

    Scenario: The answer is recorded with who gave it, and the plan goes on
      When I run `plan decide {plan} how sea --rationale 'it is heavy' --actor ada`
      Then it exits with 0
      When it ends
      Then it exits with 0
      And "reserve", "ship" did their work once each
      When I run `plan decisions {plan}`
      Then it says `how: Ship how? "sea" of air, sea (it is heavy)`
      And it says `by ada`

    Scenario: What is none of the options is refused
      When I run `plan decide {plan} how train`
      Then it exits with 2
      And it says on stderr `Error: INVALID_CHOICE: The answer to how of plan orders-1 can't be "train": the options are air, sea.`
      When I run `plan approve {plan} how`
      Then it exits with 2
      And it says on stderr `Error: INVALID_CHOICE`
      When I run `plan decide {plan} how`
      Then it exits with 2
      And it says on stderr `Step how of plan orders-1 asks: Ship how? Choose "air" or "sea".`
      And it says on stderr `Try: plan decide orders-1 how air`
      And the plan is waiting

    Scenario: A step that asks nothing takes no answer
      When I run `plan decide {plan} ship air`
      Then it exits with 3
      And it says on stderr `Error: NOT_WAITING: Step ship of plan orders-1 takes no such answer: it asks nobody.`
      When I run `plan decide {plan} shp air`
      Then it exits with 4
      And it says on stderr `Error: STEP_NOT_FOUND`

    Scenario: Its worker is killed while it waits, and the question stays
      When it is killed
      And I run `plan resume {plan}`
      Then it exits with 3
      And it says on stderr `Error: PLAN_WAITING: Plan orders-1 waits for a choice of how.`
      And it says on stderr `Try: plan decide orders-1 how`
      When I run `plan decide {plan} how air`
      Then it exits with 0
      When I run `plan resume {plan}`
      Then it exits with 0
      And "reserve", "ship" did their work once each
