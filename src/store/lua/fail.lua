--[[
  Ends a step that has failed for good. Steps that don't need it go on, unless the definition says failFast.

  KEYS, ARGV[1…9] and what it returns: see ending.lua
  ARGV[10] error (JSON)   ARGV[11] 1 where the plan stops at its first failure
]]
--#include ending.lua
queue_drop_job(q, id)
r.state = 'f'
r.failures = str(tonumber(r.failures) + 1)
r.at, r.due, r.wait = str(now - p.created), '', ''
call('HSET', P .. ':open', step, open_encode(r))
call('HSET', P .. ':out', ':error:' .. step, ARGV[10])
plan_record(P, plan, 'f|' .. r.at .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|1||' .. ARGV[10])
if ARGV[11] == '1' then
  -- The others are held and their jobs stale: in a new epoch none of them can write.
  plan_hold(T, P, plan, p, { q = true, d = true, b = true, r = true }, 'failed')
  call('HINCRBY', P, 'epoch', 1)
  call('HSET', P, 'failed', str(p.failed + 1), 'updated', now_text, 'revision', str(p.revision + 1))
  call('HSET', P, 'pausing', '')
  plan_set_state(T, P, plan, p.state, 'failed')
  plan_record(P, plan, 'z|' .. r.at .. '|' .. epoch .. '|failed')
else
  if p.sandbox then exclusive_leave(T, P, plan, p, step, r, {}) end
  plan_settle(T, P, plan, p, { failed = 1 }, now)
end
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
