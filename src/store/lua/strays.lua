--[[
  Compares what a queue holds as active with who holds it: a job whose holder is not registered goes back. At most once
  a minute, whoever asks.

  KEYS[1] <tag>:sweep   hash   KEYS[2] <tag>:workers   zset
  ARGV[1] key prefix of the shard   ARGV[2] queue

  Returns how many jobs had no holder.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt.lua
--#include takeover.lua
local EVERY_MS, MOST_LOOKED_AT = 60000, 5000
local T, queue, now = ARGV[1], ARGV[2], redis_now()
local q, looked = T .. queue .. ':', call('HGET', KEYS[1], 'strays:' .. queue)
if looked and now - tonumber(looked) < EVERY_MS then return 0 end
call('HSET', KEYS[1], 'strays:' .. queue, now_text)
local found = 0
for _, id in ipairs(call('LRANGE', q .. 'active', -MOST_LOOKED_AT, -1)) do
  local token = call('GET', q .. id .. ':lock')
  local plan, step, epoch = string.match(id, '^([^/]+)/(.+)/(%d+)$')
  local P = T .. 'plan:' .. (plan or '')
  local r = plan and open_decode(call('HGET', P .. ':open', step))
  local runs = r and r.state == 'r' and call('HGET', P, 'epoch') == epoch
  -- The record says who holds a step, also where its lock has gone; the lock says who holds anything else.
  local holder = token_worker(runs and r.token or token or '')
  if not call('ZSCORE', KEYS[2], holder) then
    found = found + 1
    if runs then
      call('SET', q .. id .. ':lock', r.token)
      takeover_job(T, r.token, queue .. ' ' .. id, holder, true, now)
    elseif not plan then
      queue_acknowledge(q, id)
      queue_put_back(q, queue_attributes(q), id)
    else
      -- Nobody's attempt: where the step still needs a job, mend.lua finds that it has none.
      queue_acknowledge(q, id)
      job_dismiss(T, q, id, now)
    end
  end
end
publish(T)
return found
