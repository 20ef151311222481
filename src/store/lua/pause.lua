--[[
  Pauses a plan: nothing of it is queued any more. Running steps are told to stop, or finish first.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan
  ARGV[1] key prefix of the shard   ARGV[2] plan   ARGV[3] actor   ARGV[4] reason   ARGV[5] 1 to let running steps finish

  Returns OK, NOPLAN or TERMINAL <state>.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt.lua
local T, plan, P, now = ARGV[1], ARGV[2], KEYS[1], redis_now()
local p = attempt_facts(P)
if not p.epoch then return 'NOPLAN' end
if p.state == 'completed' or p.state == 'cancelled' then return 'TERMINAL ' .. p.state end
if p.state == 'paused' then return 'OK' end
local after_step = ARGV[5] == '1'
plan_record(P, plan, 'p|' .. str(now - p.created) .. '|' .. p.epoch .. '|' .. ARGV[3] .. '|' .. ARGV[4])
local running = plan_hold(T, P, plan, p, { q = true, d = true, b = true, r = not after_step }, 'pause')
plan_stopped_by(P, ARGV[3], ARGV[4])
if running > 0 then
  call('HSET', P, 'pausing', running)
  publish(T)
  return 'OK'
end
call('HSET', P, 'pausing', '')
call('HINCRBY', P, 'epoch', 1)
plan_set_state(T, P, plan, p.state, 'paused')
plan_record(P, plan, 'z|' .. str(now - p.created) .. '|' .. p.epoch .. '|paused')
publish(T)
return 'OK'
