-- What wrk asks of an API server.  Words after --: the token, what to do, how many objects there are (or shall be).
-- What makes objects ends when all are made.  At the end one line of JSON says what was measured (times in ms).
local ffi = require("ffi")
ffi.cdef [[ int kill(int pid, int number); int getpid(void); ]]

local token, total, answered = "", 0, 0
local asked = -1 -- wrk asks for a first request that it does not send
local next_request
local core, discovery = "/api/v1/namespaces/default/", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"

local function read(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
end

local function headers(media)
    return { ["Authorization"] = "Bearer " .. token, ["Content-Type"] = media, ["User-Agent"] = "bench/1" }
end

local function asking(path_of)
    local given = headers("application/json")
    return function() return wrk.format("GET", path_of(), given) end
end

local function making(path, body_of)
    local given = headers("application/json")
    return function()
        asked = asked + 1
        return wrk.format("POST", path, given, body_of(asked))
    end
end

local function named(template)
    return function(number) return (template:gsub("NUMBER", number)) end
end

local function service(number)
    return string.format('{"apiVersion":"v1","kind":"Service","metadata":{"name":"service-%d","labels":{"app":"a-%d"}},' ..
        '"spec":{"selector":{"app":"a-%d"},"ports":[{"name":"http","port":80,"targetPort":8080}]}}', number, number, number)
end

local function slice(number)
    local low, high = number % 250 + 1, math.floor(number / 250) % 250
    local endpoints = {}
    for each = 1, 3 do
        endpoints[each] = string.format('{"addresses":["10.%d.%d.%d"],"conditions":{"ready":true},"nodeName":"node-%d"}',
            100 + each, high, low, each)
    end
    return string.format('{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"service-%d-x",' ..
        '"labels":{"kubernetes.io/service-name":"service-%d"}},"addressType":"IPv4","endpoints":[%s],' ..
        '"ports":[{"name":"http","port":8080,"protocol":"TCP"}]}', number, number, table.concat(endpoints, ","))
end

local function a_pod() return core .. "pods/pod-" .. math.random(1, total) end

local kinds = {
    get = function() return asking(a_pod) end,
    pods = function(template) return making(core .. "pods", named(read(template))) end,
    configmaps = function(template) return making(core .. "configmaps", named(read(template))) end,
    services = function()
        local given, number = headers("application/json"), 0
        return function()
            asked = asked + 1
            if asked % 2 == 1 then
                number = number + 1
                return wrk.format("POST", core .. "services", given, service(number))
            end
            return wrk.format("POST", discovery, given, slice(number))
        end
    end,
    patch = function()
        local given, turn = headers("application/merge-patch+json"), 0
        return function()
            turn = turn + 1
            return wrk.format("PATCH", a_pod(), given, '{"metadata":{"annotations":{"bench/turn":"' .. turn .. '"}}}')
        end
    end,
}
local ends = { pods = 1, configmaps = 1, services = 2 }

function init(args)
    token, total = args[1], tonumber(args[3])
    next_request = kinds[args[2]](args[4])
    if ends[args[2]] then
        local last = total * ends[args[2]]
        response = function(status)
            answered = answered + 1
            if answered == last then ffi.C.kill(ffi.C.getpid(), 2) end
        end
    end
end

function request() return next_request() end

function done(summary, latency, requests)
    local faults = summary.errors
    io.write(string.format(
        '{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "faults": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        faults.connect + faults.read + faults.write + faults.status + faults.timeout))
end
