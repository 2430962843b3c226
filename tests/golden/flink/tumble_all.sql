-- No key but the window, which is no divisor of a minute and cuts milliseconds.
SELECT window_start, window_end, COUNT(*) AS n, COUNT(DISTINCT device) AS devices, MIN(ts) AS first_ts,
    MAX(ts) AS last_ts, AVG(hum) AS hum_avg
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '7.5' SECOND))
GROUP BY window_start, window_end
