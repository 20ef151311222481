--[[
  Ends a step that has failed for good. Steps that don't need it go on, unless the definition says failFast.

  KEYS, ARGV[1…9] and what it returns: see ending.lua
  ARGV[10] error (JSON)   ARGV[11] 1 where the plan stops at its first failure
]]
--#include ending.lua
--#include fail-step.lua
queue_drop_job(q, id)
r.failures, r.wait = str(tonumber(r.failures) + 1), ''
step_fail(T, P, plan, step, p, r, ARGV[10], ARGV[11] == '1', now)
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
