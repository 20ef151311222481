--[[
  Looks up what a step has chosen under a key, or records it: once, however many attempts, crashes and resumes come
  between. Only the attempt that holds the step may do either.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt   ARGV[8] key   ARGV[9] the decision (a JSON object) to record, or empty to look only   ARGV[10] who made it

  Returns { OK, the recorded decision (JSON), or empty where there is none }, or { DUP }, { LOST } or { FENCED }.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt-check.lua
local T, queue, plan, step, epoch, token, attempt, key, decision =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local P, now = KEYS[1], redis_now()
local refusal, p = attempt_refusal(T, T .. queue .. ':', P, job_id(plan, step, epoch), step, epoch, token, attempt)
if refusal then return { refusal } end
call('LLEN', P .. ':decisions')
local recorded = choice_of(P, step, key)
if recorded or decision == '' then return { 'OK', recorded or '' } end
decision = '{"at":' .. now_text .. ',' .. string.sub(decision, 2)
choice_record(P, plan, p, step, key, decision, ARGV[10], now - p.created)
publish(T)
return { 'OK', decision }
