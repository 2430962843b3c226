SELECT device, window_start, window_end, COUNT(*) AS n, COUNT(temp) AS n_temp, COUNT(DISTINCT load) AS loads,
    COUNT(DISTINCT state) AS states
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY device, window_start, window_end
