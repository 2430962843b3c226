-- Rows that WHERE leaves out hold no session together.
SELECT site, SESSION_START(ts, INTERVAL '10' SECOND) AS w_start, SESSION_END(ts, INTERVAL '10' SECOND) AS w_end,
    COUNT(*) AS n, COUNT(temp) AS n_temp, AVG(temp) AS temp_avg, COALESCE(MAX(load), 0) AS load_max
FROM readings
WHERE state = 'ok' OR load IS NULL
GROUP BY site, SESSION(ts, INTERVAL '10' SECOND)
HAVING COUNT(*) > 1 AND (AVG(temp) > 10 OR COUNT(temp) = 0)
