--[[
  A person's or a system's answer to a parked step. An answer is kept as lines: what it does to the plan
  (empty, or cancel), who gave it, the decision it records (JSON or empty), the output (JSON). JSON holds no raw newline.
]]
local function answer_encode(effect, actor, decision, output)
  return effect .. '\n' .. actor .. '\n' .. decision .. '\n' .. output
end

local function plan_cancel(T, P, plan, p, actor, reason, now)
  plan_hold(T, P, plan, p, { q = true, d = true, b = true, r = true, w = true }, 'cancel')
  call('HINCRBY', P, 'epoch', 1)
  call('HSET', P, 'finished', now_text, 'waiting', '0', 'pausing', '')
  call('DEL', P .. ':signals', P .. ':saved', P .. ':needs')
  plan_stopped_by(P, actor, reason)
  plan_set_state(T, P, plan, p.state, 'cancelled')
  plan_record(P, plan, 'X|' .. str(now - p.created) .. '|' .. p.epoch .. '|' .. actor .. '|' .. reason)
end

-- Completes the step with the answer, records its decision, and does to the plan what the answer says.
local function answer_step(T, P, plan, step, p, r, answer, checkpoint, first, now)
  local effect, actor, decision, output = string.match(answer, '^([^\n]*)\n([^\n]*)\n([^\n]*)\n(.*)$')
  if decision ~= '' then
    decision_record(P, plan, p, step, decision, actor, now - p.created)
  end
  local writer = { token = r.token, attempts = r.attempts, line = r.line, at = r.at, fence = r.fence }
  local fields = step_complete(T, P, plan, step, p, writer, output, checkpoint, actor, effect == 'cancel' and #ARGV + 1 or first, now, {})
  if effect == 'cancel' then
    call('HSET', P, unpack(fields))
    plan_cancel(T, P, plan, p, actor, 'rejected at ' .. step, now)
  else
    -- An answered step was not running, so a plan that is pausing waits for as many as before.
    if p.pausing and r.state == 'w' then p.pausing = str(tonumber(p.pausing) + 1) end
    plan_settle(T, P, plan, p, { waiting = r.state == 'w' and -1 or nil, fields = fields }, now)
  end
end
