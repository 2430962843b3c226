-- CAST to BIGINT goes towards zero.
SELECT device, window_start, COUNT(DISTINCT CAST(load AS BIGINT)) AS loads, SUM(CAST(temp AS BIGINT)) AS temp_total,
    CAST(MIN(temp) AS BIGINT) AS temp_min, CAST(COUNT(*) AS DOUBLE) / 4 AS quarter, CAST(COUNT(*) AS VARCHAR) AS n_text
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '2' MINUTE))
GROUP BY device, window_start, window_end
