Feature: A plan goes on from where it stopped
  Whatever ended its worker: what is done stays done, the rest runs, and the dry-run says beforehand what will happen.

  Rule: What is done is never done again

    Scenario: The worker is killed in a step
      Given a plan with the steps "reserve", "charge", "ship"
      And its worker was killed in "charge"
      When I run `plan resume {plan}`
      Then it exits with 0
      And the plan is completed
      And "reserve", "ship" did their work once each
      And "charge" began twice
      And "charge" ended once
      And it was resumed once

    Scenario: The worker is killed between two steps
      Given a plan with the steps "reserve", "charge", "ship"
      And "ship" takes long
      And its worker was killed after "charge"
      When I run `plan resume {plan} --dry-run`
      Then it says that it would reuse "reserve, charge" and run "ship"
      And nothing in Redis has changed
      When "ship" may end
      And I run `plan resume {plan}`
      Then it exits with 0
      And "reserve", "charge" did their work once each
      And "ship" ended once

    Scenario: Six steps, killed in the fourth
      Given a plan with the steps "one", "two", "three", "four", "five", "six"
      And its worker was killed in "four"
      When I run `plan resume {plan}`
      Then it exits with 0
      And "one", "two", "three", "five", "six" did their work once each
      And "four" began at most twice
      And its history has
        | event          | step  | count |
        | step.completed | one   | 1     |
        | step.completed | four  | 1     |
        | step.completed | six   | 1     |
        | plan.resumed   |       | 1     |
        | plan.completed |       | 1     |

    Scenario: The worker is killed while a step waits for its next attempt
      Given the file "plan.yaml":
        """
        plan: orders
        defaults: { retry: { attempts: 3, delay: 1h, max: 1h } }
        steps:
          - { id: reserve, act: }
          - { id: charge, act: }
        """
      And "charge" is broken
      When I start `plan run plan.yaml --id {plan}`
      And it has said "attempt 2 in"
      And it is killed
      Then the plan is interrupted
      When "charge" is mended
      And I run `plan resume {plan}`
      Then it exits with 0
      And "reserve" began once
      And "charge" began twice

    Scenario: The worker is killed while a timer runs, and the timer keeps its time
      Given the file "plan.yaml":
        """
        plan: orders
        steps:
          - { id: reserve, act: }
          - { id: cool-down, uses: sleep, with: { for: 2s } }
          - { id: ship, act: }
        """
      And its worker was killed after "reserve"
      When I run `plan resume {plan}`
      Then it exits with 0
      And "reserve", "ship" did their work once each
      And its history has
        | event          | step      | count |
        | step.completed | cool-down | 1     |

    Scenario: Everything is killed, the store included
      Given a plan with the steps "reserve", "charge", "ship"
      And "charge" takes long
      When I start `plan run plan.yaml --id {plan}`
      And "charge" has begun
      And everything is killed, the store included
      And "charge" may end
      And I run `plan resume {plan}`
      Then it exits with 0
      And "reserve", "ship" did their work once each
      And "charge" ended once

    Scenario: It is killed again and again
      Given a plan with the steps "reserve", "charge", "ship"
      And its worker was killed in "reserve"
      And "charge" takes long
      When I start `plan resume {plan}`
      And "charge" has begun
      And it is killed
      And "charge" may end
      And "ship" takes long
      And I start `plan resume {plan}`
      And "ship" has begun
      And it is killed
      And "ship" may end
      And I run `plan resume {plan}`
      Then it exits with 0
      And the plan is completed
      And "reserve" ended once
      And "charge" ended once
      And "ship" ended once

  Rule: The dry-run is the truth

    Scenario: What it says
      Given a plan with the steps "reserve", "charge", "ship"
      And its worker was killed in "charge"
      When I run `plan resume {plan} --dry-run --reason 'card is fixed'`
      Then it exits with 0
      And it says
        """
        Plan       orders-1  orders v1  …state  interrupted  (epoch 1 → 2)
        Why        worker …:… was lost in charge
        Phase      execute
        Step       charge (2 of 3)…last completed  reserve
        Checkpoint ckp_… after reserve…decision  dec_… (submission)
        Sandbox    none
        Reuse      reserve
        Run        charge, ship
        Ask        nothing: no irreversible step had started
        Reason     card is fixed
        Token      wmk1.…
        (dry run) nothing was written
        """
      And nothing in Redis has changed

    Scenario: What it says to a program
      Given a plan with the steps "reserve", "charge", "ship"
      And its worker was killed in "charge"
      When I run `plan resume {plan} --dry-run -o json`
      Then it exits with 0
      And stdout is one JSON document with the keys "plan_id, name, version, state, why, eligible, phase, step, decision_id, last_completed_step, last_checkpoint_id, sandbox, epoch, next_epoch, reuse, run, ack_required, new_key, drift, from, reason, workers, resume_token, dry_run"
      And its "eligible" is true
      And its "dry_run" is true
      And its "step" is "charge"
      And its "reuse" is ["reserve"]
      And its "run" is ["charge", "ship"]
      And its "epoch" is 1
      And its "next_epoch" is 2
      And its "sandbox" is null
      And nothing in Redis has changed

    Scenario Outline: It changes nothing, whatever the plan is: <state>
      Given the file "plan.yaml":
        """
        plan: orders
        defaults: { retry: { attempts: 1 } }
        steps:
          - { id: reserve, act: }
          - { id: sign-off, uses: approve, with: { message: "Ship it?" } }
          - { id: ship, act: }
        """
      And "<broken>" is broken
      When I start `plan run plan.yaml --id {plan}`
      And it has said "<said>"
      And it is killed
      And I run `plan <command>`
      Then the plan is <state>
      When I run `plan resume {plan} --dry-run`
      Then it exits with <code>
      And nothing in Redis has changed

      Examples:
        | state     | broken  | said         | command                     | code |
        | waiting   | ship    | Answer with: | get {plan}                  | 3    |
        | paused    | ship    | Answer with: | pause {plan}                | 0    |
        | cancelled | ship    | Answer with: | cancel {plan}               | 3    |
        | failed    | reserve | ✖ reserve    | get {plan}                  | 0    |

    Scenario: A resume does what its dry-run said
      Given a plan with the steps "reserve", "charge", "ship"
      And its worker was killed in "charge"
      When I run `plan resume {plan} --dry-run`
      And I note its token
      And I run `plan resume {plan} --expect {token}`
      Then it exits with 0
      And it says that it would reuse "reserve" and run "charge, ship"
      And the plan is completed

    Scenario: What it said is no longer true
      Given a plan with the steps "reserve", "charge", "ship"
      And its worker was killed in "charge"
      When I run `plan resume {plan} --dry-run`
      And I note its token
      And I run `plan pause {plan}`
      And I run `plan resume {plan} --expect {token}`
      Then it exits with 5
      And it says on stderr `Error: PREVIEW_STALE: Plan orders-1 changed since that dry-run`
      And it says on stderr `Try: plan resume orders-1 --dry-run`
      And "charge" began once

  Rule: It says why a plan can't be resumed, and what to do instead

    Scenario: There is no such plan
      When I run `plan resume nothing-1 --dry-run`
      Then it exits with 4
      And it says on stderr `Error: PLAN_NOT_FOUND: No plan nothing-1 in this store.`
      And it says on stderr `Try: plan list`

    Scenario: It is completed
      Given a plan with the steps "reserve"
      And it is completed
      When I run `plan resume {plan}`
      Then it exits with 3
      And it says on stderr `Error: PLAN_TERMINAL: Plan orders-1 is completed and never changes again.`
      And it says on stderr `Try: plan fork orders-1 --from-step reserve`
      And "reserve" began once

    Scenario: It is cancelled
      Given a plan with the steps "reserve", "charge"
      And its worker was killed in "charge"
      When I run `plan cancel {plan} --reason 'customer left'`
      And I run `plan resume {plan} -o json`
      Then it exits with 3
      And stdout is one JSON document
      And its "eligible" is false
      And its "error.code" is "PLAN_TERMINAL"
      And its "state" is "cancelled"
      And "charge" began once

    Scenario: Another process executes it
      Given a plan with the steps "reserve", "charge"
      And "charge" takes long
      When I start `plan run plan.yaml --id {plan}`
      And "charge" has begun
      And I run `plan resume {plan}`
      Then it exits with 3
      And it says on stderr `Error: PLAN_ACTIVE: Worker `
      And it names the process that executes it
      And it says on stderr `last seen`
      When "charge" may end
      And it ends
      Then it exits with 0
      And "reserve", "charge" did their work once each

    Scenario: It waits for a person
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
      And it is killed
      And I run `plan resume {plan}`
      Then it exits with 3
      And it says on stderr `Error: PLAN_WAITING: Plan orders-1 waits for an approval of sign-off.`
      And it says on stderr `Try: plan approve orders-1 sign-off`
      When I run `plan approve {plan} sign-off`
      Then it exits with 0
      When I run `plan resume {plan}`
      Then it exits with 0
      And "reserve", "ship" did their work once each

    Scenario: The step to go back to is not in the plan
      Given a plan with the steps "reserve", "charge", "ship"
      And its worker was killed in "charge"
      When I run `plan resume {plan} --from-step chrage`
      Then it exits with 4
      And it says on stderr `Error: STEP_NOT_FOUND: Plan orders-1 has no step chrage`
      When I run `plan resume {plan} --from-step ship`
      Then it exits with 4
      And it says on stderr `Step ship of plan orders-1 has not been reached`

    Scenario: Its folder has moved
      Given a plan in the folder "project" with the steps "reserve", "charge"
      And its worker was killed in "charge"
      When the folder of the plan is moved to "elsewhere"
      And I run `plan resume {plan}`
      Then it exits with 3
      And it says on stderr `Error: WORKDIR_MISSING: Plan orders-1 runs in `
      And it says on stderr `Try: plan resume orders-1 --workdir PATH`
      When I run `plan resume {plan} --workdir elsewhere`
      Then it exits with 0
      And the plan is completed

  Rule: One of many wins

    Scenario: The same request twice
      Given a plan with the steps "reserve", "charge"
      And its worker was killed in "charge"
      When I run `plan resume {plan} --request-id deploy-7 -o json`
      Then it exits with 0
      And its "next_epoch" is 2
      And I note its answer
      When I run `plan resume {plan} --request-id deploy-7 -o json`
      Then it exits with 0
      And it gives the same answer
      And it was resumed once
      And "charge" began twice

    Scenario: Eight resumes at once, each willing to execute
      Given a plan with the steps "reserve", "charge", "ship"
      And its worker was killed in "charge"
      And "charge" takes long
      When 8 people run `plan resume {plan}` at once, and one goes on
      Then one of them wins, and 7 are refused with PLAN_ACTIVE
      And each step has one live job at most
      And it was resumed once
      When "charge" may end
      And it ends
      Then it exits with 0
      And "charge" began twice
      And "ship" began once

    Scenario: Eight resumes at once, for a fleet
      Given a Redis that several machines share
      And a plan with the steps "reserve", "charge", "ship", each of which is tried up to 1 times
      And "charge" is broken
      And a worker that trusts "plan.yaml"
      And it was submitted
      And the plan is "failed"
      When "charge" is mended
      And "charge" takes long
      And 8 people run `plan resume {plan}` at once
      Then one of them wins, and 7 are refused with PLAN_ACTIVE
      And each step has one live job at most
      And it was resumed once
      When "charge" may end
      Then the plan becomes completed
      And "charge" began twice
      And "ship" began once

    Scenario: Eight resumes at once, and nobody is there to take it
      Given a Redis that several machines share
      And a plan with the steps "reserve", "charge", "ship"
      And its worker was killed in "charge"
      When 8 people run `plan resume {plan}` at once
      Then one of them wins, and 7 are refused with PLAN_ACTIVE
      And each step has one live job at most
      And it was resumed once

    Scenario: Resumed and cancelled at once
      Given a plan with the steps "reserve", "charge", "ship"
      And its worker was killed in "charge"
      And "charge" takes long
      When I run `plan resume {plan}` and `plan cancel {plan}` at once
      Then the plan is cancelled
      And "ship" began never
      And its history has
        | event          | step   | count |
        | plan.cancelled |        | 1     |
        | step.completed | charge | 0     |

    Scenario: The worker that was thought dead comes back
      Given a plan with the steps "reserve", "charge", "ship"
      And "charge" takes long
      When I start `plan run plan.yaml --id {plan}`
      And "charge" has begun
      And its machine stops for a while
      And somebody else resumes it and it begins "charge" again
      And "charge" may end
      And its machine goes on
      Then both processes end, and the plan is completed
      And "ship" began once
      And its history has
        | event          | step   | count |
        | step.completed | charge | 1     |
        | step.completed | ship   | 1     |

  Rule: One can go back

    Scenario: Going back supersedes exactly what needs the step
      Given the file "plan.yaml":
        """
        plan: orders
        defaults: { retry: { attempts: 1 } }
        steps:
          - { id: fetch, act: }
          - { id: parse, needs: [fetch], act: }
          - { id: lint, needs: [fetch], act: }
          - { id: test, needs: [parse], act: }
          - { id: report, needs: [lint, test], act: }
        """
      And it failed in "report"
      When "report" is mended
      And I run `plan resume {plan} --from-step parse --dry-run -o json`
      Then its "reuse" is ["fetch", "lint"]
      And its "run" is ["parse", "test", "report"]
      And its "new_key" is ["parse", "test", "report"]
      And its "from" is "step parse"
      And nothing in Redis has changed
      When I run `plan resume {plan} --from-step parse`
      Then it exits with 0
      And "fetch", "lint" did their work once each
      And "parse" began twice
      And "test" began twice
      And "report" began twice

    Scenario: Going back to a checkpoint keeps its step
      Given a plan with the steps "reserve", "charge", "ship", each of which is tried up to 1 times
      And it failed in "ship"
      When "ship" is mended
      And I note the checkpoint after "reserve"
      And I run `plan resume {plan} --from-checkpoint {checkpoint} --dry-run`
      Then it says that it would reuse "reserve" and run "charge, ship"
      And nothing in Redis has changed
      When I run `plan resume {plan} --from-checkpoint {checkpoint}`
      Then it exits with 0
      And "reserve" began once
      And "charge" began twice
      # It is no point of the plan's line any more.
      When I run `plan checkpoints {plan}`
      Then it says on stdout `superseded`

    Scenario: Going back to a decision takes it anew
      Given the file "plan.yaml":
        """
        plan: orders
        defaults: { retry: { attempts: 1 } }
        steps:
          - { id: reserve, act: }
          - { id: sign-off, uses: approve, with: { message: "Ship it?" } }
          - { id: ship, act: }
        """
      And "ship" is broken
      When I start `plan run plan.yaml --id {plan}`
      And it has said "Answer with: plan approve orders-1 sign-off"
      And I run `plan approve {plan} sign-off --actor ada`
      And it ends
      Then it exits with 1
      When "ship" is mended
      And I note the decision of "sign-off"
      And I start `plan resume {plan} --from-decision {decision}`
      And it has said "Answer with: plan approve orders-1 sign-off"
      And I run `plan approve {plan} sign-off --actor grace`
      And it ends
      Then it exits with 0
      And "reserve" began once
      And "ship" began twice

    Scenario Outline: There is no such point: <option>
      Given a plan with the steps "reserve", "charge"
      And its worker was killed in "charge"
      When I run `plan resume {plan} <option> xyz_1`
      Then it exits with 4
      And it says on stderr `Error: <code>: `
      And it says on stderr `Try: plan <list> orders-1`

      Examples:
        | option            | code                 | list        |
        | --from-checkpoint | CHECKPOINT_NOT_FOUND | checkpoints |
        | --from-decision   | DECISION_NOT_FOUND   | decisions   |

  Rule: What can't be undone is never repeated unasked

    Background:
      Given the file "plan.yaml":
        """
        plan: orders
        steps:
          - { id: reserve, act: }
          - { id: charge, effect: irreversible, act: }
          - { id: ship, act: }
        """
      And its worker was killed in "charge"

    Scenario: It asks whether it happened
      When I run `plan resume {plan} --dry-run -o json`
      Then it exits with 3
      And its "ack_required" is ["charge"]
      And its "error.code" is "ACK_REQUIRED"
      And nothing in Redis has changed
      When I run `plan resume {plan}`
      Then it exits with 3
      And it says on stderr `Try: plan resume orders-1 --ack charge=done`
      And "charge" began once
      And it was resumed never

    Scenario: It happened
      When I run `plan resume {plan} --ack charge=done --actor ada`
      Then it exits with 0
      And "charge" began once
      And "ship" began once
      When I run `plan decisions {plan} -o json`
      Then its "1.step" is "charge"
      And its "1.made_by" is "ada"

    Scenario: It did not happen
      When I run `plan resume {plan} --ack charge=redo`
      Then it exits with 0
      And "charge" began twice
      And "charge" ended once
      And "ship" began once

  Rule: A failure is mended, not started over

    Scenario: A step fails, its cause is mended, the plan is resumed
      Given a plan with the steps "reserve", "charge", "ship", each of which is tried up to 2 times
      And "charge" is broken
      When I run `plan run plan.yaml --id {plan}`
      Then it exits with 1
      And it says on stderr `Error: STEP_FAILED: Step charge of plan orders-1 failed: exit code 1: charge is broken.`
      And it says on stderr `Try: plan resume orders-1`
      And the plan is failed
      When "charge" is mended
      And I run `plan resume {plan} --reason 'the card terminal is back'`
      Then it exits with 0
      And "reserve", "ship" did their work once each
      And "charge" began 3 times

    Scenario: It fails again after a resume
      Given a plan with the steps "reserve", "charge", each of which is tried up to 1 times
      And it failed in "charge"
      When I run `plan resume {plan} -o json`
      Then it exits with 1
      And stdout is one JSON document
      And its "outcome.state" is "failed"
      And its "outcome.error.code" is "STEP_FAILED"
      And "charge" began twice

  Rule: Resume is the un-pause

    Scenario: A paused plan goes on when it is resumed
      Given a plan with the steps "reserve", "charge", "ship"
      And "charge" takes long
      When I start `plan run plan.yaml --id {plan}`
      And "charge" has begun
      And I run `plan pause {plan} --reason 'stocktaking'`
      Then it exits with 0
      And the plan is paused
      When it ends
      Then it exits with 1
      When "charge" may end
      And I run `plan resume {plan}`
      Then it exits with 0
      And the plan is completed
      And "reserve", "ship" did their work once each
      And "charge" began twice

    Scenario: A plan that is paused after its step loses nothing
      Given a plan with the steps "reserve", "charge", "ship"
      And "charge" takes long
      When I start `plan run plan.yaml --id {plan}`
      And "charge" has begun
      And I run `plan pause {plan} --after-step`
      And "charge" may end
      And it ends
      Then the plan is paused
      And "ship" began never
      When I run `plan resume {plan}`
      Then it exits with 0
      And "reserve", "charge", "ship" did their work once each

  Rule: Many plans

    Scenario: All that were interrupted
      Given a plan with the steps "reserve", "charge"
      And the workers of 3 plans were killed in "charge"
      When I run `plan resume --all`
      Then it exits with 2
      And it says on stderr `--yes`
      When I run `plan resume --all --yes`
      Then it exits with 0
      And there are 3 plans, all completed

    Scenario: The ids come from another command
      Given a plan with the steps "reserve", "charge"
      And its worker was killed in "charge"
      When I run `plan list --state interrupted -o ids`
      Then it says on stdout `orders-1`
      When I run `plan resume -` with "orders-1\n" on stdin
      Then it exits with 0
      And the plan is completed

  Rule: On a shared Redis a resume enqueues

    Scenario: Nobody is there to take it
      Given a Redis that several machines share
      And a plan with the steps "reserve", "charge"
      And its worker was killed in "charge"
      When I run `plan resume {plan} -o json`
      Then it exits with 0
      And stdout is one JSON document
      And its "workers" is 0
      And it says on stderr `No live worker can take charge of plan orders-1`
      Given a worker that trusts "plan.yaml"
      Then the plan becomes completed
      And "reserve" began once
      And "charge" began twice

    Scenario: It waits for the end
      Given a Redis that several machines share
      And a plan with the steps "reserve", "charge", each of which is tried up to 1 times
      And "charge" is broken
      And a worker that trusts "plan.yaml"
      And it was submitted
      And the plan is "failed"
      When "charge" is mended
      And I run `plan resume {plan} --wait`
      Then it exits with 0
      And it says `is completed`
