--[[
  Keeps how far an attempt says that it is, for those who watch. Nothing depends on it, and it is in no history.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt   ARGV[8] fraction from 0 to 1   ARGV[9] note, or empty

  Returns { OK }, { DUP }, { LOST } or { FENCED }.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt-check.lua
local T, queue, plan, step, epoch, token, attempt =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local P = KEYS[1]
local refusal = attempt_refusal(T, T .. queue .. ':', P, job_id(plan, step, epoch), step, epoch, token, attempt)
if refusal then return { refusal } end
call('HSET', P .. ':out', ':progress:' .. step, attempt .. '|' .. ARGV[8] .. '|' .. ARGV[9])
return { 'OK' }
