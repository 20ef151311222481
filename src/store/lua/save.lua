--[[
  Saves how far an attempt has come, for the next one. A step that gets further between its crashes is none that kills
  its workers: its crashes are counted anew.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt   ARGV[8] cursor (JSON)

  Returns { OK }, { DUP }, { LOST } or { FENCED }.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt-check.lua
local T, queue, plan, step, epoch, token, attempt =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local P = KEYS[1]
local refusal, _, r = attempt_refusal(T, T .. queue .. ':', P, job_id(plan, step, epoch), step, epoch, token, attempt)
if refusal then return { refusal } end
call('HSET', P .. ':saved', step, ARGV[8])
if r.crashes ~= '0' then
  r.crashes = '0'
  call('HSET', P .. ':open', step, open_encode(r))
end
return { 'OK' }
