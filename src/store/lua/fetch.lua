--[[
  Takes the next job of a queue for a worker's slot and writes the start of its step. Repeatable: a token that holds
  a job already gets the same one.

  KEYS[1] <tag>:workers              zset  worker -> last beat
  KEYS[2] <tag>:worker:<id>:own      hash  token -> queue and job
  KEYS[3…] the queue's own keys
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] token   ARGV[4] worker   ARGV[5] ms that the lock lasts

  Returns { verdict, now, … } as fetch_reply says; verdict OK, or UNREGISTERED where the store doesn't know the worker.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include start.lua
local T, queue, token, worker, lock_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local now = redis_now()
if not call('ZSCORE', KEYS[1], worker) then return { 'UNREGISTERED', now_text, '', 0, '0' } end
local reply = fetch('OK', T, queue, KEYS[2], token, worker, lock_ms, now, {}, false)
publish(T)
return reply
