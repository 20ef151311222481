--#include attempt-check.lua
--#include step-record.lua

--[[
  Writes a completed step and releases what was waiting for it. Returns the fields of the plan that it changes, for
  plan_settle, which ends the transition. Nothing in here can refuse.
]]
local function step_complete(T, P, plan, step, p, writer, output, checkpoint, actor, first, now, cache)
  local fields = step_record(P, plan, step, p, writer, output, checkpoint, actor, now)
  steps_release(T, P, plan, p, successors_free(P, first), cache)
  return fields
end

-- Takes a step whose job is acknowledged from its holder. Returns whether only a person can say if it happened: then
-- nobody runs it again. `started` is false where no attempt happened, `delay` in ms is 0 for at once.
local function attempt_hand_back(q, a, id, p, r, started, delay, now)
  if started and string.find(r.traits, 'i', 1, true) then
    r.state = 'u'
    queue_drop_job(q, id)
    return true
  end
  if p.pausing then
    r.state = 'h'
    queue_drop_job(q, id)
  elseif delay > 0 then
    r.state, r.due = 'd', str(now - p.created + delay)
    queue_delay(q, id, now, delay)
  else
    r.state = 'q'
    queue_put_back(q, a, id)
  end
  return false
end
