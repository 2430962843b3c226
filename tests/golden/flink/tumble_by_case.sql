SELECT CASE WHEN load < 0 THEN 'gives' WHEN load > 0 THEN 'takes' ELSE 'rests' END AS flow, window_start, window_end,
    COUNT(*) AS n, COUNT(load) AS loads, AVG(ABS(load)) AS load_avg
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '2' MINUTE))
GROUP BY window_start, window_end, CASE WHEN load < 0 THEN 'gives' WHEN load > 0 THEN 'takes' ELSE 'rests' END
