Feature: A plan takes its shape while it runs

  Scenario: A step whose condition doesn't hold is skipped, and what needs it runs
    Given the file "plan.yaml":
      """
      plan: orders
      input: { gift: { type: boolean, default: false } }
      steps:
        - { id: reserve, run: "echo '{\"weight\": 3}'" }
        - { id: wrap, when: input.gift, act: }
        - { id: insure, needs: [reserve], when: { value: steps.reserve.output.weight, notIn: [1, 2] }, act: }
        - { id: ship, needs: [wrap, insure], act: }
      """
    When I run `plan run plan.yaml --id {plan}`
    Then it exits with 0
    And it says on stderr `⊘ wrap skipped`
    And it says on stdout `Plan orders-1 is completed: 4 steps`
    And "insure", "ship" did their work once each
    And "wrap" began never
    And its history has
      | event          | step   | count |
      | step.skipped   | wrap   | 1     |
      | step.admitted  | insure | 1     |
      | plan.completed |        | 1     |
    When I run `plan get {plan} -o json`
    Then its "steps.1.state" is "skipped"
    When I run `plan run plan.yaml --id {plan}-2 --input gift=true`
    Then it exits with 0
    And "wrap" began once

  Scenario: A resume after a crash doesn't ask what was answered
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: reserve, run: "echo '{\"gift\": false}'" }
        - { id: wrap, when: steps.reserve.output.gift, act: }
        - { id: ship, act: }
      """
    And its worker was killed in "ship"
    When I run `plan resume {plan} --dry-run`
    Then it exits with 0
    And it says on stdout `Reuse      reserve, wrap`
    When I run `plan resume {plan} --yes`
    Then it exits with 0
    And "wrap" began never
    And its history has
      | event        | step | count |
      | step.skipped | wrap | 1     |

  Scenario: A plan goes on without a step that failed, and can say why it did
    Given the file "plan.yaml":
      """
      plan: orders
      defaults: { retry: { attempts: 1 } }
      steps:
        - { id: reserve, onFailure: continue, run: "echo no stock >&2; exit 3" }
        - { id: apologize, when: errors.reserve, env: { WHY: "${{ errors.reserve.code }}" }, run: "echo '\"'$WHY'\"'" }
      """
    When I run `plan run plan.yaml --id {plan} -o json`
    Then it exits with 0
    And its "output" is "EXIT_3"
    And its "steps.0.state" is "continued"
    And its "steps.0.error.code" is "EXIT_3"
    And its history has
      | event          | step    | count |
      | step.failed    | reserve | 1     |
      | step.continued | reserve | 1     |

  Scenario: A condition that can't be asked is a fault with its place
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: reserve, act: }
        - { id: ship, needs: [], when: steps.reserve.output.stock, act: }
      """
    When I run `plan validate plan.yaml`
    Then it exits with 2
    And it says on stderr `INVALID_PLAN: plan.yaml has 1 fault, the first in line 4, column 34.`

  Scenario: One step an item: the worker is killed among them, and a resume runs the rest
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: scan, run: "echo '[{\"sku\": \"a/1\"}, {\"sku\": \"b\"}]'" }
        - { id: pack, map: steps.scan.output, key: sku, concurrency: 1, env: { SKU: "${{ item.sku }}" }, run: "echo '\"'$SKU'\"'" }
        - { id: ship, act: }
      """
    And its worker was killed in "ship"
    When I run `plan get {plan} -o json`
    Then its "steps.2.id" is "pack#a/1"
    And its "steps.4.items.done" is 2
    When I run `plan resume {plan} --from-step pack#b --dry-run -o json`
    Then its "reuse" is ["scan","pack#","pack#a/1"]
    And its "run" is ["pack","ship","pack#b"]
    When I run `plan resume {plan} --from-step pack#b --yes`
    Then it exits with 0
    And its history has
      | event          | step     | count |
      | plan.grown     | pack#    | 1     |
      | step.completed | pack#a/1 | 1     |
      | step.completed | pack#b   | 2     |
      | step.completed | pack     | 2     |
    And "ship" began twice

  Scenario: The map is mended after a crash: its items do what it declares now, by the list that they had
    Given the file "plan.yaml":
      """
      plan: orders
      steps:
        - { id: scan, run: "echo '[{\"sku\": \"a\"}, {\"sku\": \"b\"}]'" }
        - { id: pack, map: steps.scan.output, key: sku, run: "echo 1" }
        - { id: ship, act: }
      """
    And its worker was killed in "ship"
    And the file "plan.yaml":
      """
      plan: orders
      version: 2
      steps:
        - { id: scan, run: "echo '[{\"sku\": \"a\"}, {\"sku\": \"b\"}]'" }
        - { id: pack, map: steps.scan.output, key: sku, run: "echo 2" }
        - { id: ship, env: { PACKED: "${{ steps.pack.output }}" }, act: }
      """
    When I run `plan resume {plan} --on-drift keep --dry-run -o json`
    Then its "reuse" is ["scan","pack#","pack","pack#a","pack#b"]
    And its "drift" is ["pack changed","ship changed"]
    When I run `plan resume {plan} --on-drift rerun --dry-run -o json`
    Then its "reuse" is ["scan","pack#"]
    And its "run" is ["pack","ship","pack#a","pack#b"]
    When I run `plan resume {plan} --on-drift rerun --yes`
    Then it exits with 0
    And its history has
      | event          | step   | count |
      | plan.grown     | pack#  | 1     |
      | step.completed | pack#a | 2     |
      | step.completed | pack   | 2     |
