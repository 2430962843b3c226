-- FIRST_VALUE of Flink goes by the order of arrival, which a table in batch mode has not; of Tidegate by event time.
SELECT device, window_start AS w_start, MAX(CASE WHEN place = 1 THEN temp END) AS temp_first,
    MAX(CASE WHEN back = 1 THEN temp END) AS temp_last
FROM (
    SELECT device, window_start, temp,
        ROW_NUMBER() OVER (PARTITION BY device, window_start ORDER BY ts) AS place,
        ROW_NUMBER() OVER (PARTITION BY device, window_start ORDER BY ts DESC) AS back
    FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
    WHERE temp IS NOT NULL
)
GROUP BY device, window_start
