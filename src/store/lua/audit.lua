--[[
  Gives back what a worker owns without knowing it: a reply that told it so was lost for good. Sent on the connection
  of its fetches, so that no such reply can still be under way.

  KEYS[1] <tag>:worker:<id>:own   hash   token -> queue and job
  ARGV[1] key prefix of the shard   ARGV[2] worker   ARGV[3…] tokens that the worker knows to hold a job

  Returns how many were given back.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt.lua
--#include takeover.lua
local T, worker, now, known, given = ARGV[1], ARGV[2], redis_now(), {}, 0
for i = 3, #ARGV do known[ARGV[i]] = true end
local entries = call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  if not known[entries[i]] then
    takeover_job(T, entries[i], entries[i + 1], worker, false, now)
    call('HDEL', KEYS[1], entries[i])
    given = given + 1
  end
end
publish(T)
return given
