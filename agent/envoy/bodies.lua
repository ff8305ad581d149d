-- What a body says, if no server can read it otherwise: members of a JSON object, a string of a gRPC message.
--
-- The rules are those of policies.scan and policies.messages; one corpus holds the twins together. Stands before
-- classify.lua in one script.

local MAX_DEPTH = @MAX_DEPTH@
local MAX_MESSAGE = 4 * 1024 * 1024 -- of a stream: what gRPC servers take if nobody tells them otherwise
local MAX_KEPT, MAX_KEY = 1024, 64 -- of what is kept from one request to the next, per worker
local ECHO = "id" -- the member that is only given back
local byte, find, sub, lower, gsub, match = string.byte, string.find, string.sub, string.lower, string.gsub, string.match

-- JSON: byte loops outside strings, plain finds inside; both are compiled, patterns and recursion are not. --------------

local function skip(s, i)
  local c = byte(s, i)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    i = i + 1
    c = byte(s, i)
  end
  return i, c
end

-- Where the string at `i` ends: behind the first quote with an even number of backslashes before it. Most strings are
-- short: a find costs as much as some sixteen bytes looked at.
local function string_end(s, i)
  local j = i + 1
  for k = j, i + 16 do
    local c = byte(s, k)
    if c == 34 then return k + 1 end
    if c == 92 then break end
    j = k + 1
  end
  while true do
    local quote = find(s, '"', j, true)
    if not quote then return nil end
    local b = quote - 1
    while byte(s, b) == 92 do b = b - 1 end
    if (quote - 1 - b) % 2 == 0 then return quote + 1 end
    j = quote + 1
  end
end

-- One of `-+.0-9eE`.
local function numeric(c)
  return c and (c >= 43 and c <= 57 and c ~= 44 and c ~= 47 or c == 101 or c == 69)
end

local function scalar_end(s, i, c)
  if c == 34 then return string_end(s, i) end
  if numeric(c) then
    repeat i = i + 1 until not numeric(byte(s, i))
    return i
  end
  if c == 116 then return sub(s, i, i + 3) == "true" and i + 4 or nil end
  if c == 102 then return sub(s, i, i + 4) == "false" and i + 5 or nil end
  if c == 110 then return sub(s, i, i + 3) == "null" and i + 4 or nil end
end

-- Behind the key at `i` and its colon.
local function behind_key(s, i, c)
  i = c == 34 and string_end(s, i)
  if not i then return nil end
  i, c = skip(s, i)
  if c ~= 58 then return nil end
  return skip(s, i + 1)
end

local ends = {} -- the bracket that ends what is open, by level

-- Where the value at `i` ends, which stands `depth` levels deep; nil if it breaks a rule.
local function value(s, i, depth)
  local level, c = depth, byte(s, i)
  while true do
    local opened = c == 123 or c == 91
    if opened then
      level = level + 1
      if level > MAX_DEPTH then return nil end
      ends[level] = c + 2
      i, c = skip(s, i + 1)
    else
      i = scalar_end(s, i, c)
      if not i or level == depth then return i end
      i, c = skip(s, i)
    end
    while c == ends[level] do
      level, opened = level - 1, false
      if level == depth then return i + 1 end
      i, c = skip(s, i + 1)
    end
    if not opened then
      if c ~= 44 then return nil end
      i, c = skip(s, i + 1)
    end
    if ends[level] == 125 then
      i, c = behind_key(s, i, c)
      if not i then return nil end
    end
  end
end

-- A wanted member: a plain string, true, false or null; anything else could be read in two ways.
local function scalar(s, i)
  local c = byte(s, i)
  if c == 34 then
    local quote = find(s, '"', i + 1, true)
    if not quote then return nil end
    local text = sub(s, i + 1, quote - 1)
    if find(text, "[%z\1-\31\\]") then return nil end
    return quote + 1, text
  end
  if sub(s, i, i + 3) == "true" then return i + 4, true end
  if sub(s, i, i + 4) == "false" then return i + 5, false end
  if sub(s, i, i + 3) == "null" then return i + 4, nil end
  return nil
end

-- Keys that were found to have no second spelling.
local spelled, keys = {}, 0

local function keep(key)
  if #key > MAX_KEY then return end
  if keys == MAX_KEPT then spelled, keys = {}, 0 end
  spelled[key], keys = true, keys + 1
end

-- The wanted members of the object at `i`, and where it ends; nil if any parser could see something else. What is wanted
-- is true, or a table of what is wanted of the object that stands there.
local function members(s, i, wanted, depth)
  if depth > MAX_DEPTH then return nil end
  local found, seen, c = {}, {}, nil
  i, c = skip(s, i + 1)
  if c == 125 then return i + 1, found end
  while true do
    if c ~= 34 then return nil end
    local quote = find(s, '"', i + 1, true)
    if not quote then return nil end
    local key = sub(s, i + 1, quote - 1)
    if not spelled[key] then -- patterns are not compiled: most keys were seen before
      if find(key, "[^ -~]") or find(key, "\\", 1, true) then return nil end -- no second spelling of a key
      keep(key)
    end
    i, c = skip(s, quote + 1)
    if c ~= 58 then return nil end
    i, c = skip(s, i + 1)
    local folded = lower(key)
    local want = wanted[folded]
    if want then
      if key ~= folded or seen[key] then return nil end
      seen[key] = true
      if want == ECHO then
        local start = i
        i = value(s, i, depth)
        if i then found[key] = sub(s, start, i - 1) end
      elseif want ~= true and c == 123 then
        i, found[key] = members(s, i, want, depth + 1)
      else
        i, found[key] = scalar(s, i)
        if want ~= true and found[key] ~= nil then return nil end -- an object or null
        if key == "stream" and type(found[key]) == "string" then return nil end -- "true" is true to some
      end
    else
      i = value(s, i, depth)
    end
    if not i then return nil end
    i, c = skip(s, i)
    if c == 125 then return i + 1, found end
    if c ~= 44 then return nil end
    i, c = skip(s, i + 1)
  end
end

local function scan(s, wanted)
  local i, c = skip(s, 1)
  if c ~= 123 then return nil end
  local found
  i, found = members(s, i, wanted, 1)
  i = i and skip(s, i)
  return i == #s + 1 and found or nil
end

-- gRPC: one string of the one message, by the rules of policies.messages. ---------------------------------------------

local function varint(s, i, most, shortest)
  local number, scale = 0, 1
  for k = i, i + most - 1 do
    local c = byte(s, k)
    if not c then return nil end
    if c < 128 then
      if shortest and k > i and c == 0 then return nil end
      return number + c * scale, k + 1
    end
    number, scale = number + (c - 128) * scale, scale * 128
  end
  return nil
end

local function framed(s, i)
  local _, a, b, c, d = byte(s, i, i + 4)
  return d and 5 + ((a * 256 + b) * 256 + c) * 256 + d
end

local WIDTH = {[1] = 8, [5] = 4}

local function message(s, wanted)
  if byte(s) ~= 0 or framed(s, 1) ~= #s then return nil end
  local i, found = 6, nil
  while i <= #s do
    local tag, length
    tag, i = varint(s, i, 5, true)
    if not tag or tag < 8 or tag > 4294967295 then return nil end
    local field, wire = math.floor(tag / 8), tag % 8
    if wire == 0 then
      length, i = varint(s, i, 10, false)
      length = length and 0
    elseif wire == 2 then
      length, i = varint(s, i, 5, true)
    else
      length = WIDTH[wire]
    end
    if not length or i + length > #s + 1 then return nil end
    if field == wanted then
      if found or wire ~= 2 then return nil end -- of two, parsers take the last, some the first
      found = sub(s, i, i + length - 1)
    end
    i = i + length
  end
  return found
end

-- The messages of a stream that are complete and name `name`; what is left of the text; how much of it the next message
-- needs; whether one named something else.
local function whole_messages(s, wanted, name)
  local i = 1
  while true do
    local size = framed(s, i)
    if not size or i + size > #s + 1 then
      return sub(s, 1, i - 1), sub(s, i), size or 5, false
    end
    if message(sub(s, i, i + size - 1), wanted) ~= name then return sub(s, 1, i - 1), "", 5, true end
    i = i + size
  end
end

