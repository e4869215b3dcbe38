set(engine_control_libraries syncline_test_support syncline_engine syncline_apply syncline_io
    syncline_rdb syncline_base)
syncline_test(engine_precheck SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_precheck.c
    LIBRARIES ${engine_control_libraries})
syncline_test(engine_verify SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_verify.c
    LIBRARIES ${engine_control_libraries} TIMEOUT 300)
