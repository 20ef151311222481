Feature: A plan recurs
  It is submitted at each due time, by whatever scheduler is there, exactly once.

  Scenario: It is scheduled, looked at, replaced and ended
    Given a plan with the steps "reserve", "ship"
    When I run `plan schedule nightly plan.yaml --cron '0 3 * * *' --tz Europe/Berlin`
    Then it exits with 0
    And it says on stdout `Schedule nightly is created: orders, 0 3 * * * (Europe/Berlin); next due`
    When I run `plan schedule nightly plan.yaml --cron '0 3 * * *' --tz Europe/Berlin`
    Then it says on stdout `Schedule nightly is unchanged`
    When I run `plan schedule nightly plan.yaml --every 24h --missed skip`
    Then it says on stdout `Schedule nightly is replaced: orders, every 1d`
    When I run `plan schedule nightly plan.yaml --cron '61 3 * * *'`
    Then it exits with 2
    And it says on stderr `"61 3 * * *" is no cron pattern`
    When I run `plan schedules -o json`
    Then its "0.every_ms" is 86400000
    And its "0.missed" is "skip"
    When I run `plan schedule nightly --remove`
    Then it says on stdout `Schedule nightly is removed.`
    When I run `plan schedule nightly --remove`
    Then it exits with 4

  Scenario: Its schedulers take turns, and one is killed
    Given a plan with the steps "reserve"
    And a worker that trusts "plan.yaml"
    When somebody starts `plan scheduler`
    And somebody starts `plan scheduler`
    And it has said "looking for recurring"
    And I run `plan schedule often plan.yaml --every 1s`
    And "reserve" has begun 2 times
    And it is killed
    Then "reserve" has begun 4 times
