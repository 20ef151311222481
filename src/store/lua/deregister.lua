--[[
  A worker leaves in order. What it still holds goes back to the queues; the markers it may have taken from them are
  put back, so that nobody sleeps beside a waiting job. Plans that only it could run are interrupted.

  KEYS[1] <tag>:workers   zset   worker -> last beat   KEYS[2] <tag>:worker:<id>   hash
  KEYS[3] <tag>:worker:<id>:own   hash   KEYS[4] <tag>:worker:<id>:inbox   list
  ARGV[1] key prefix of the shard   ARGV[2] worker   ARGV[3] its private queue   ARGV[4…] plans in that queue

  Returns OK.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt.lua
--#include takeover.lua
local T, worker, now = ARGV[1], ARGV[2], redis_now()
local queues = call('HGET', T .. 'worker:' .. worker, 'queues') or ''
takeover(T, worker, 100000, false, now)
for queue in string.gmatch(queues, '%S+') do
  local q = T .. queue .. ':'
  if call('EXISTS', q .. 'wait', q .. 'prioritized') > 0 then queue_mark(q, queue_attributes(q)) end
end
for i = 4, #ARGV do
  local P = T .. 'plan:' .. ARGV[i]
  local p = attempt_facts(P)
  if (p.state == 'running' or p.state == 'queued') and call('HGET', P, 'queue') == ARGV[3] then
    plan_interrupt(T, P, ARGV[i], p, now)
  end
end
publish(T)
return 'OK'
