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
