--[[
  Records that the condition of a step holds, before its handler begins: whoever attempts the step from here on runs it
  without asking again. Only the attempt that holds the step may.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt

  Returns { OK }, { DUP }, { LOST } or { FENCED }.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt-check.lua
local T, queue, plan, step, epoch, token, attempt =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local P, now = KEYS[1], redis_now()
local refusal, p = attempt_refusal(T, T .. queue .. ':', P, job_id(plan, step, epoch), step, epoch, token, attempt)
if refusal then return { refusal } end
-- Before every decision of the step: a rewind to one of those keeps it.
if call('HSETNX', P .. ':choices', step .. '/:when', '0') == 1 then
  plan_record(P, plan, 'a|' .. str(now - p.created) .. '|' .. epoch .. '|' .. step .. '|' .. attempt)
  publish(T)
end
return { 'OK' }
