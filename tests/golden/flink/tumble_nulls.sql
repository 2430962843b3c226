-- A device without temperatures: aggregates over nothing but NULLs, and what may stand in for them.
SELECT device, window_start, COUNT(*) AS n, COUNT(temp) AS n_temp, SUM(temp) AS temp_sum, AVG(temp) AS temp_avg,
    MIN(temp) AS temp_min, MAX(temp) AS temp_max, STDDEV_POP(temp) AS temp_stddev, COUNT(DISTINCT temp) AS temps,
    COALESCE(SUM(temp), MAX(load), -1) AS any_sum, SUM(temp) + COUNT(*) AS mixed_sum, MAX(temp) IS NULL AS is_dumb
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
WHERE temp IS NULL OR load IS NOT NULL AND state IS NULL
GROUP BY device, window_start, window_end
