--[[
  What a step leaves that has failed for good. Its job is gone already. `error` is JSON; `fail_fast` says that the plan
  stops at its first failure. Returns the plan's state.
]]
local function step_fail(T, P, plan, step, p, r, error, fail_fast, now)
  r.state, r.at, r.due = 'f', str(now - p.created), ''
  call('HSET', P .. ':open', step, open_encode(r))
  call('HSET', P .. ':out', ':error:' .. step, error)
  plan_record(P, plan, 'f|' .. r.at .. '|' .. p.epoch .. '|' .. step .. '|' .. r.attempts .. '|1||' .. error)
  if fail_fast then
    -- The others are held and their jobs stale: in a new epoch none of them can write.
    plan_hold(T, P, plan, p, { q = true, d = true, b = true, r = true }, 'failed')
    call('HINCRBY', P, 'epoch', 1)
    call('HSET', P, 'failed', str(p.failed + 1), 'pausing', '')
    plan_set_state(T, P, plan, p.state, 'failed')
    plan_record(P, plan, 'z|' .. r.at .. '|' .. p.epoch .. '|failed')
    return 'failed'
  end
  turn_leave(T, P, plan, p, step, r, {})
  return plan_settle(T, P, plan, p, { failed = 1 }, now)
end
