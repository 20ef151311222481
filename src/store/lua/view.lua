--[[
  Reads, in one consistent moment and without a write, what a decision about a plan needs.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan
  KEYS[2] <tag>:workers     zset   worker -> last beat
  ARGV[1] key prefix of the shard   ARGV[2] ms after which a silent worker is dead
  ARGV[3] what else: none, "resume" (done steps and definition, where small), "full" (records and definition whatever
          their size), "line" (that, and the history, decisions and snapshots), "list" (at most 64 open steps)
  ARGV[4] definition that the caller has already, or empty   ARGV[5] number of steps up to which names are listed

  Returns false where there is no such plan, else
  { now, HGETALL plan, open: step, record …, owners: { worker, beat, HGETALL info } …,
    servers: { queue, number alive, { worker, beat, HGETALL info } … } …, done, HGETALL definition, workdir,
    who stopped it|why, empty where nobody did, history, decisions, snapshots, the document's file, what it was forked from,
    limits that steps wait for: key, how many run … }
  `snapshots`: all for "line", else the one in force.
  `done`: step ids, only the newest ones, oldest first, where the plan is too large to list; HGETALL of records for "full"
  and "line"
]]
--#include view-read.lua
return view_reply
