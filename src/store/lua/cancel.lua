--[[
  Ends a plan for good. Running steps are told to stop; what they still write is refused.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan
  ARGV[1] key prefix of the shard   ARGV[2] plan   ARGV[3] actor   ARGV[4] reason

  Returns OK, NOPLAN or TERMINAL <state>.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt.lua
--#include answer.lua
local T, plan, P = ARGV[1], ARGV[2], KEYS[1]
local p = attempt_facts(P)
if not p.epoch then return 'NOPLAN' end
if p.state == 'completed' or p.state == 'cancelled' then return 'TERMINAL ' .. p.state end
plan_cancel(T, P, plan, p, ARGV[3], ARGV[4], redis_now())
publish(T)
return 'OK'
